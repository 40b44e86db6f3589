import { join } from "node:path";
import t from "tap";
import { Generator } from "../../lib/torch/generator.js";
import { UNet2DModel } from "../../lib/models/unet-2d/model.js";
import { LDMPipeline } from "../../lib/pipelines/ldm.js";
import { DDIMScheduler } from "../../lib/schedulers/ddim.js";
import { EulerDiscreteScheduler } from "../../lib/schedulers/euler.js";
import { schedulerClassNames, schedulerFromConfig } from "../../lib/schedulers/known.js";

const CHECKPOINT = join(__dirname, "..", "fixtures", "pipelines", "tiny", "checkpoint");
const QUICK = { numInferenceSteps: 2, seed: 1 };

/** What JavaScript callers pass. */
const wrong = (value: unknown): never => value as never;

t.test("the stack of a run's error starts with the caller, however deep the work was", async (t) => {
  const pipe = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: false });
  t.teardown(() => pipe.dispose());
  const limit = Error.stackTraceLimit;
  t.teardown(() => {
    Error.stackTraceLimit = limit;
  });
  Error.stackTraceLimit = 10;
  const startsWithCaller = /^[^\n]*\n +at theCaller/;
  async function theCaller(options: object): Promise<void> {
    await pipe.generate(options);
  }
  await t.rejects(theCaller({ ...QUICK, batchSize: 1e12 }), { code: "ERR_OUT_OF_MEMORY", stack: startsWithCaller });
  await t.rejects(theCaller({ ...QUICK, batchSize: 0 }), { code: "ERR_INVALID_ARGUMENT", stack: startsWithCaller });
  const controller = new AbortController();
  const onProgress = (): void => controller.abort();
  await t.rejects(theCaller({ ...QUICK, signal: controller.signal, onProgress }), {
    code: "ERR_ABORTED",
    stack: startsWithCaller,
  });
  await t.rejects(
    theCaller({
      ...QUICK,
      onProgress: () => {
        throw new RangeError("own");
      },
    }),
    { name: "RangeError", stack: /onProgress/ },
    "whose error it is keeps its stack",
  );
  const streaming = async function theCaller(options: object): Promise<void> {
    for await (const { step } of pipe.stream(options)) t.fail(`step ${step}`);
  };
  await t.rejects(streaming({ ...QUICK, batchSize: 1e12 }), { code: "ERR_OUT_OF_MEMORY", stack: startsWithCaller });
  await t.rejects(streaming(wrong({ seed: 1.5 })), { code: "ERR_INVALID_ARGUMENT", stack: startsWithCaller });
});

t.test("stream checks its options as generate does", async (t) => {
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: false });
  for (const options of [null, [], 5, { signal: null }]) {
    t.throws(() => pipe.stream(wrong(options)), { code: "ERR_INVALID_ARGUMENT" }, JSON.stringify(options));
    await t.rejects(pipe.generate(wrong(options)), { code: "ERR_INVALID_ARGUMENT" });
  }
  t.throws(() => pipe.stream({ ...QUICK, signal: AbortSignal.abort("before") }), {
    name: "AbortError",
    cause: "before",
  });
});

t.test("options of loading are checked also where nothing is left to load", async (t) => {
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: false });
  const { unet, vqvae } = pipe;
  for (const options of [{ dtype: "int8" }, { device: "gpu" }, { optimize: "yes" }]) {
    await t.rejects(
      LDMPipeline.fromPretrained(CHECKPOINT, wrong({ unet, vqvae, ...options })),
      { code: "ERR_INVALID_ARGUMENT" },
      JSON.stringify(options),
    );
  }
});

t.test("the sizes that a unet takes are checked before anything is drawn", async (t) => {
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: false });
  const generator = Generator.fromSeed(0);
  const state = generator.getState();
  const refuse = async (config: object, options: object, message: RegExp): Promise<void> => {
    using unet = await UNet2DModel.fromConfig(
      { layers_per_block: 1, block_out_channels: [8, 8], norm_num_groups: 4, attention_head_dim: 4, ...config },
      { optimize: false },
    );
    const own = new LDMPipeline({ ...pipe.components, unet });
    await t.rejects(
      own.generate({ numInferenceSteps: 2, generator, ...options }),
      { code: "ERR_INVALID_ARGUMENT", message },
      String(message),
    );
  };
  const plain = { down_block_types: ["DownBlock2D", "DownBlock2D"], up_block_types: ["UpBlock2D", "UpBlock2D"] };
  await refuse(
    { ...plain, sample_size: 7 },
    {},
    /a multiple of 4, since the unet cannot take its own sample_size of 7, for height/,
  );
  await refuse({ ...plain, sample_size: [8, 7] }, {}, /own sample_size of 7, for width/);
  const reflecting = {
    layers_per_block: 2,
    block_out_channels: [32, 32],
    down_block_types: ["KDownBlock2D", "KDownBlock2D"],
    up_block_types: ["KUpBlock2D", "KUpBlock2D"],
    sample_size: 8,
  };
  await refuse(reflecting, { height: 4 }, /an integer of at least 8 for height but received 4/);
  t.strictSame(generator.getState(), state, "nothing was drawn");
});

t.test("components are all that another pipeline of the same parts is made of", async (t) => {
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: false, scalingFactor: 0.33 });
  using twin = new LDMPipeline(pipe.components);
  t.equal(twin.scalingFactor, 0.33);
  using other = new LDMPipeline({ ...pipe.components, scalingFactor: 0.5 });
  t.equal(other.scalingFactor, 0.5);
  const run = { ...QUICK, outputType: "array" } as const;
  t.strictSame((await twin.generate(run)).images.data, (await pipe.generate(run)).images.data);
  using own = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: false });
  t.strictSame(
    Object.keys(own.components),
    ["vqvae", "unet", "scheduler"],
    "the vqvae's own factor is the vqvae's to tell",
  );
  t.notOk("scalingFactor" in new LDMPipeline({ ...pipe.components, scalingFactor: 0.8 }).components);
});

t.test("another scheduler may be assigned; a run under way keeps its own", async (t) => {
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: false });
  const before = pipe.scheduler;
  const timesteps: number[] = [];
  for await (const { timestep } of pipe.stream({ ...QUICK, numInferenceSteps: 4 })) {
    timesteps.push(timestep);
    pipe.scheduler = DDIMScheduler.fromConfig(before.config, { timestep_spacing: "trailing" });
  }
  t.strictSame(timesteps, [750, 500, 250, 0, 0]);
  t.equal(pipe.components.scheduler, pipe.scheduler);
  const told: number[] = [];
  await pipe.generate({ ...QUICK, numInferenceSteps: 4, onProgress: ({ timestep }) => told.push(timestep) });
  t.strictSame(told, [999, 749, 499, 249]);
  for (const value of [undefined, null, {}, "DDIMScheduler", pipe.unet]) {
    t.throws(
      () => {
        pipe.scheduler = wrong(value);
      },
      { code: "ERR_INVALID_ARGUMENT", message: /a scheduler for scheduler/ },
    );
  }
  t.strictSame(pipe.config.scheduler, ["diffusers", "DDIMScheduler"]);
});

t.test("every scheduler runs in the pipeline, and gives previews", async (t) => {
  const pipe = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: false });
  t.teardown(() => pipe.dispose());
  const own = pipe.scheduler.config;
  for (const name of schedulerClassNames()) {
    pipe.scheduler = schedulerFromConfig({ ...own, _class_name: name });
    let previews = 0;
    let shown = 0;
    for await (const { preview, images } of pipe.stream({ seed: 3, numInferenceSteps: 5, previewEvery: 1 })) {
      if (preview) previews++;
      if (images) shown = images.length;
    }
    t.ok(previews >= 5, `${name}: ${previews} previews`);
    t.equal(shown, 1, name);
  }
});

t.test("timesteps and noise levels can be given instead of a number of steps", async (t) => {
  const pipe = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: false });
  t.teardown(() => pipe.dispose());
  pipe.scheduler = EulerDiscreteScheduler.fromConfig(pipe.scheduler.config);
  const seen: number[] = [];
  const onProgress = ({ timestep }: { timestep: number }): void => void seen.push(timestep);
  await pipe.generate({ seed: 1, timesteps: [900, 500, 100], onProgress });
  t.strictSame(seen, [900, 500, 100]);
  const { images } = await pipe.generate({ seed: 1, sigmas: [10, 4, 1, 0], outputType: "array" });
  t.strictSame(images.shape, [1, 16, 16, 3]);
  await t.rejects(pipe.generate({ timesteps: [900, 100], numInferenceSteps: 2 }), {
    code: "ERR_INVALID_ARGUMENT",
    message: /more than one of them/,
  });
  pipe.scheduler = new DDIMScheduler({});
  await t.rejects(pipe.generate({ sigmas: [1, 0] }), { code: "ERR_INVALID_ARGUMENT" }, "DDIM takes none");
});
