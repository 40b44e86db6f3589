import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { Generator } from "../../lib/torch/generator.js";
import { Image } from "../../lib/image/image.js";
import { UNet2DModel } from "../../lib/models/unet-2d/model.js";
import { LDMPipeline } from "../../lib/pipelines/ldm.js";
import { DDIMScheduler } from "../../lib/schedulers/ddim.js";
import { expectedOf, readPipelineCase, replayRun } from "../support/pipeline-cases.js";

const FIXTURE = join(__dirname, "..", "fixtures", "pipelines", "tiny");
const CHECKPOINT = join(FIXTURE, "checkpoint");
const QUICK = { numInferenceSteps: 3, seed: 1 };

/** What JavaScript callers pass. */
const wrong = (value: unknown): never => value as never;

const pixels = (images: readonly Image[]): Buffer => Buffer.concat(images.map((image) => image.data));

/** A promise that holds open until the event loop has turned, so that work in the queue can begin. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

t.test("the pictures that diffusers makes of the same checkpoint and seeds", async (t) => {
  const { runs, tensors } = readPipelineCase(FIXTURE);
  for (const optimize of [false, true]) {
    const pipe = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize });
    t.teardown(() => pipe.dispose());
    for (const [i, run] of runs.entries()) await replayRun(t, pipe, run, expectedOf(tensors, i), 1e-4);
  }
});

t.test("one loaded pipeline", async (t) => {
  const pipe = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: false });
  t.teardown(() => pipe.dispose());

  await t.test("what it says of itself", async (t) => {
    t.equal(pipe.device, "cpu");
    t.equal(pipe.dtype, "float32");
    t.equal(pipe.scalingFactor, 0.8);
    t.equal(pipe.components.unet, pipe.unet);
    t.ok(pipe.vqvae.config.latent_channels === 3 && pipe.scheduler instanceof DDIMScheduler);
  });

  await t.test("the output is iterable, and its type follows the option", async (t) => {
    const [images] = await pipe.generate({ ...QUICK, batchSize: 2 });
    t.ok(
      images?.every(
        (image) => image instanceof Image && image.width === 16 && image.height === 16 && image.channels === 3,
      ),
    );
    const { images: array } = await pipe.generate({ ...QUICK, batchSize: 2, outputType: "array" });
    t.strictSame(array.shape, [2, 16, 16, 3]);
    t.ok(array.data.every((value) => value >= 0 && value <= 1));
    const { images: tensor } = await pipe.generate({ ...QUICK, batchSize: 2, outputType: "tensor" });
    t.strictSame(tensor.shape, [2, 3, 16, 16]);
    const nchw = await tensor.data();
    t.equal(nchw[16 * 16 + 5], array.data[5 * 3 + 1], "green of the sixth pixel");
    t.strictSame(
      Array.from(images?.[0]?.data ?? []),
      Array.from(array.data.slice(0, 768), (value) => {
        const scaled = Math.fround(value * 255);
        const rounded = Math.round(scaled);
        return rounded - scaled === 0.5 && rounded % 2 === 1 ? rounded - 1 : rounded;
      }),
      "halves to even",
    );
  });

  await t.test("a seed is a generator of that seed; without either, pictures are new", async (t) => {
    const options = { numInferenceSteps: 2, eta: 0.5 };
    const seeded = await pipe.generate({ ...options, seed: 7 });
    const generated = await pipe.generate({ ...options, generator: Generator.fromSeed(7) });
    t.ok(pixels(seeded.images).equals(pixels(generated.images)));
    const [first, second] = [await pipe.generate(options), await pipe.generate(options)];
    t.notOk(pixels(first.images).equals(pixels(second.images)));
  });

  await t.test("one generator an image: each picture is the one it would be alone", async (t) => {
    const both = await pipe.generate({
      ...QUICK,
      seed: undefined,
      eta: 0.7,
      batchSize: 2,
      generator: [Generator.fromSeed(3), Generator.fromSeed(4)],
      outputType: "array",
    });
    const alone = await pipe.generate({
      ...QUICK,
      seed: undefined,
      eta: 0.7,
      generator: Generator.fromSeed(4),
      outputType: "array",
    });
    const second = both.images.data.slice(16 * 16 * 3);
    t.ok(second.every((value, i) => Math.abs(value - (alone.images.data[i] ?? NaN)) < 1e-4));
  });

  await t.test("progress is told after each step, and waited for", async (t) => {
    const seen: unknown[] = [];
    await pipe.generate({
      ...QUICK,
      onProgress: async (progress) => {
        await turn();
        seen.push(progress);
      },
    });
    t.strictSame(seen, [
      { step: 1, steps: 3, timestep: 666 },
      { step: 2, steps: 3, timestep: 333 },
      { step: 3, steps: 3, timestep: 0 },
    ]);
  });

  await t.test("a callback that throws ends the run with its own error", async (t) => {
    let calls = 0;
    const fail = (): void => {
      calls++;
      throw new RangeError("enough");
    };
    await t.rejects(pipe.generate({ ...QUICK, onProgress: fail }), { name: "RangeError", message: "enough" });
    await t.rejects(pipe.generate({ ...QUICK, onProgress: async () => fail() }), { message: "enough" });
    t.equal(calls, 2, "and nothing goes on");
    t.ok((await pipe.generate(QUICK)).images.length === 1, "the pipeline works on");
  });

  await t.test("concurrent runs do not disturb each other", async (t) => {
    const runs = [
      { numInferenceSteps: 2, seed: 1, eta: 0.5 },
      { numInferenceSteps: 5, seed: 2 },
      { numInferenceSteps: 3, seed: 3, batchSize: 2 },
    ];
    const together = await Promise.all(runs.map((run) => pipe.generate(run)));
    for (const [i, run] of runs.entries()) {
      t.ok(pixels(together[i]?.images ?? []).equals(pixels((await pipe.generate(run)).images)), JSON.stringify(run));
    }
    t.equal(pipe.scheduler.numInferenceSteps, undefined, "the pipeline's own scheduler was left alone");
  });

  await t.test("abort", async (t) => {
    await t.rejects(pipe.generate({ ...QUICK, signal: AbortSignal.abort("before") }), {
      name: "AbortError",
      code: "ERR_ABORTED",
      cause: "before",
    });
    const during = new AbortController();
    let steps = 0;
    const running = pipe.generate({
      numInferenceSteps: 50,
      signal: during.signal,
      onProgress: () => {
        if (++steps === 2) during.abort("during");
      },
    });
    await t.rejects(running, { name: "AbortError", cause: "during" });
    t.equal(steps, 2);
    const decoding = new AbortController();
    const late = pipe.generate({
      numInferenceSteps: 1,
      batchSize: 4,
      signal: decoding.signal,
      onProgress: () => {
        setImmediate(() => decoding.abort());
      },
    });
    await t.rejects(late, { name: "AbortError" }, "between steps and decoding");
  });

  await t.test("stream: an event a step, previews when asked, images last", async (t) => {
    const events = [];
    for await (const event of pipe.stream({ ...QUICK, numInferenceSteps: 5, batchSize: 2, previewEvery: 2 }))
      events.push(event);
    t.strictSame(
      events.map(({ step, steps, preview, images }) => [step, steps, preview?.length, images?.length]),
      [
        [1, 5, undefined, undefined],
        [2, 5, 2, undefined],
        [3, 5, undefined, undefined],
        [4, 5, 2, undefined],
        [5, 5, 2, undefined],
        [5, 5, undefined, 2],
      ],
    );
    t.ok(events[1]?.preview?.every((image) => image.width === 8 && image.height === 8 && image.channels === 3));
    t.ok(new Set(events[1]?.preview?.[0]?.data).size > 30, "a preview shows something");
    const { images } = await pipe.generate({ ...QUICK, numInferenceSteps: 5, batchSize: 2 });
    t.ok(pixels(events.at(-1)?.images ?? []).equals(pixels(images)), "the same pictures as generate's");
  });

  await t.test("stream: leaving early stops the work", async (t) => {
    const generator = Generator.fromSeed(5);
    for await (const { step } of pipe.stream({ numInferenceSteps: 50, eta: 1, generator })) if (step === 2) break;
    const state = generator.getState();
    await turn();
    await pipe.generate({ ...QUICK, numInferenceSteps: 1 });
    t.strictSame(generator.getState(), state, "no further noise was drawn");
    const stream = pipe.stream({ numInferenceSteps: 50, seed: 1 });
    await stream.next();
    const pending = stream.next();
    t.strictSame(await stream.return(), { done: true, value: undefined });
    t.ok((await pending).done, "a step that was being waited for ends quietly");
    t.ok((await stream.next()).done);
  });

  await t.test("stream: a signal, and wrong options at once", async (t) => {
    const controller = new AbortController();
    await t.rejects(
      async () => {
        for await (const { step } of pipe.stream({ numInferenceSteps: 50, signal: controller.signal }))
          if (step === 2) controller.abort("why");
      },
      { name: "AbortError", cause: "why" },
    );
    t.throws(() => pipe.stream({ previewEvery: 0 }), { code: "ERR_INVALID_ARGUMENT", message: /previewEvery/ });
    t.throws(() => pipe.stream(wrong({ prewiewEvery: 1 })), { message: /"prewiewEvery".*did you mean "previewEvery"/ });
    t.throws(() => pipe.stream(wrong({ signal: 1 })), { message: /AbortSignal for signal/ });
  });

  await t.test("every option is checked before any work", async (t) => {
    const generator = Generator.fromSeed(0);
    const state = generator.getState();
    const refused: [object, RegExp][] = [
      [{ batchSize: 0 }, /an integer of at least 1 for batchSize but received 0 of type number/],
      [{ batchSize: "2" }, /batchSize but received "2" of type string/],
      [{ numInferenceSteps: 1001 }, /from 1 to 1000 for numInferenceSteps/],
      [{ eta: 2 }, /from 0 to 1 for eta/],
      [{ eta: null }, /eta/],
      [{ outputType: "pil" }, /one of "image", "array", "tensor" for outputType but received "pil"/],
      [{ generator: 3 }, /a Generator for generator but received 3/],
      [{ generator: null }, /a Generator for generator but received null/],
      [
        { generator: [generator] },
        /Expected 2 generators, one an image, for generator but received an array of length 1/,
      ],
      [{ generator: [generator, "b"] }, /generator\[1\]/],
      [{ generator, seed: 1 }, /generator or seed but received both/],
      [{ seed: 1.5 }, /seed/],
      [{ height: 10 }, /a multiple of 4 for height/],
      [{ width: 2 }, /width/],
      [{ signal: {} }, /an AbortSignal for signal/],
      [{ onProgress: 1 }, /a function for onProgress/],
      [{ num_inference_steps: 5 }, /Unknown option "num_inference_steps".*did you mean "numInferenceSteps"/],
      [{ bachSize: 2 }, /Unknown option "bachSize" for LDMPipeline.generate; did you mean "batchSize"/],
      [{ previewEvery: 2 }, /previewEvery/],
    ];
    for (const [options, message] of refused) {
      const all = { generator: [generator, generator], batchSize: 2, numInferenceSteps: 2, ...options };
      if ("seed" in options && !("generator" in options)) all.generator = wrong(undefined);
      await t.rejects(
        pipe.generate(wrong(all)),
        { code: "ERR_INVALID_ARGUMENT", name: "TypeError", message },
        JSON.stringify(options),
      );
    }
    await t.rejects(pipe.generate(wrong(5)), { code: "ERR_INVALID_ARGUMENT" });
    t.strictSame(generator.getState(), state, "nothing was drawn");
  });

  await t.test("height and width in pixels", async (t) => {
    const {
      images: [image],
    } = await pipe.generate({ ...QUICK, height: 24, width: 8 });
    t.strictSame([image?.height, image?.width], [24, 8]);
  });

  await t.test("parts that do not fit", async (t) => {
    const small = {
      sample_size: 8,
      layers_per_block: 1,
      block_out_channels: [8, 8],
      norm_num_groups: 4,
      attention_head_dim: 4,
      down_block_types: ["DownBlock2D", "DownBlock2D"],
      up_block_types: ["UpBlock2D", "UpBlock2D"],
    };
    const withUnet = async (config: object): Promise<LDMPipeline> => {
      const unet = await UNet2DModel.fromConfig({ ...small, ...config }, { optimize: false });
      t.teardown(() => unet.dispose());
      return new LDMPipeline({ ...pipe.components, unet });
    };
    await t.rejects(withUnet({ num_class_embeds: 3 }), { code: "ERR_CONFIG_UNSUPPORTED", message: /class embedding/ });
    await t.rejects(withUnet({ out_channels: 4 }), {
      code: "ERR_CONFIG_UNSUPPORTED",
      message: /3 \(in_channels\), or 6 .* out_channels of the unet but received 4/,
    });
    await t.rejects(withUnet({ in_channels: 4, out_channels: 4 }), {
      code: "ERR_CONFIG_UNSUPPORTED",
      message: /in_channels of the unet but received 4/,
    });
    await t.resolves(
      withUnet({ out_channels: 6 }).then((own) => own.generate(QUICK)),
      "a learned variance is left",
    );
    const sizeless = await withUnet({ sample_size: null });
    await t.rejects(sizeless.generate(QUICK), {
      code: "ERR_INVALID_ARGUMENT",
      message: /sample_size is null.* for height/,
    });
    t.equal((await sizeless.generate({ ...QUICK, height: 8, width: 12 })).images[0]?.width, 12);
    const fourier = await withUnet({ time_embedding_type: "fourier" });
    await t.rejects(fourier.generate(QUICK), { code: "ERR_CONFIG_UNSUPPORTED", message: /fourier.*timestep 0/ });
    const learned = await withUnet({ time_embedding_type: "learned", num_train_timesteps: 100 });
    await t.rejects(learned.generate(QUICK), {
      code: "ERR_CONFIG_UNSUPPORTED",
      message: /100 timesteps.*timestep 666/,
    });
    t.throws(() => new LDMPipeline(wrong({ unet: pipe.unet, vqvae: pipe.vqvae })), {
      code: "ERR_INVALID_ARGUMENT",
      message: /a scheduler for scheduler/,
    });
    t.throws(() => new LDMPipeline({ ...pipe.components, vqvae: wrong({}) }), { message: /a VQModel for vqvae/ });
    t.throws(() => new LDMPipeline(wrong({ ...pipe.components, vae: 1 })), { message: /"vae".*did you mean "vqvae"/ });
    const offset = new LDMPipeline({ ...pipe.components, scheduler: new DDIMScheduler({ steps_offset: 1 }) });
    await t.rejects(offset.generate({ numInferenceSteps: 1000 }), {
      code: "ERR_CONFIG_UNSUPPORTED",
      message: /steps_offset 1/,
    });
  });
});

t.test("a scaling factor is the checkpoint's, 1 where it has none, or the option", async (t) => {
  const folder = t.testdir({});
  cpSync(CHECKPOINT, folder, { recursive: true });
  const path = join(folder, "vqvae", "config.json");
  const { scaling_factor: _, ...config } = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
  writeFileSync(path, JSON.stringify(config));
  const old = await LDMPipeline.fromPretrained(folder, { optimize: false });
  t.teardown(() => old.dispose());
  t.equal(old.scalingFactor, 1);
  const given = await LDMPipeline.fromPretrained(folder, { optimize: false, scalingFactor: 0.8 });
  t.teardown(() => given.dispose());
  const original = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: false });
  t.teardown(() => original.dispose());
  const expected = pixels((await original.generate(QUICK)).images);
  t.ok(pixels((await given.generate(QUICK)).images).equals(expected));
  t.notOk(pixels((await old.generate(QUICK)).images).equals(expected));
  const copy = t.testdir({});
  await given.savePretrained(join(copy, "given"));
  await old.savePretrained(join(copy, "old"));
  for (const [name, factor] of [
    ["given", 0.8],
    ["old", 1],
  ] as const) {
    t.equal(
      (JSON.parse(readFileSync(join(copy, name, "vqvae", "config.json"), "utf8")) as Record<string, unknown>)
        .scaling_factor,
      factor,
      "saved, always",
    );
  }
  await t.rejects(LDMPipeline.fromPretrained(folder, { scalingFactor: 0 }), { code: "ERR_INVALID_ARGUMENT" });
});

t.test("what is saved is what is loaded", async (t) => {
  const folder = t.testdir({});
  const pipe = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: false });
  t.teardown(() => pipe.dispose());
  await pipe.savePretrained(folder, { variant: "fp16" });
  const index = join(folder, "model_index.json");
  t.strictSame(pipe.config, JSON.parse(readFileSync(index, "utf8")), "config is what the index says");
  t.throws(() => Object.assign(pipe.config, { unet: null }), TypeError);
  await t.rejects(LDMPipeline.fromPretrained(folder), { code: "ERR_CHECKPOINT_NOT_FOUND" });
  await t.rejects(LDMPipeline.fromPretrained(folder, { variant: "bf16" }), {
    code: "ERR_CHECKPOINT_NOT_FOUND",
    message: /variant "bf16"/,
  });
  const again = await LDMPipeline.fromPretrained(folder, { optimize: false, variant: "fp16" });
  t.teardown(() => again.dispose());
  t.ok(pixels((await again.generate(QUICK)).images).equals(pixels((await pipe.generate(QUICK)).images)));
  await t.rejects(again.savePretrained(folder, wrong({ varient: "fp16" })), {
    message: /"varient" for savePretrained; did you mean "variant"/,
  });
  t.ok(existsSync(index), "a wrong option does no harm");
  const full = Object.create(pipe.vqvae, {
    savePretrained: {
      value: async () => {
        throw new Error("no room");
      },
    },
  }) as typeof pipe.vqvae;
  await t.rejects(new LDMPipeline({ ...pipe.components, vqvae: full }).savePretrained(folder), { message: "no room" });
  t.notOk(existsSync(index), "parts of two saves are no pipeline");
});

t.test("folders that cannot be loaded", async (t) => {
  await t.rejects(
    LDMPipeline.fromPretrained("CompVis/ldm-celebahq-256", { localFilesOnly: true, cacheDir: t.testdir() }),
    { code: "ERR_HUB_OFFLINE", message: /There is no folder CompVis\/ldm-celebahq-256 here/ },
  );
  await t.rejects(LDMPipeline.fromPretrained(__filename), {
    code: "ERR_CHECKPOINT_NOT_FOUND",
    message: /it is a file/,
  });
  await t.rejects(LDMPipeline.fromPretrained(wrong(undefined)), { code: "ERR_INVALID_ARGUMENT" });
  await t.rejects(LDMPipeline.fromPretrained(CHECKPOINT, wrong({ torch_dtype: "float16" })), {
    message: /Unknown option "torch_dtype".*known: device, dtype/,
  });
  await t.rejects(LDMPipeline.fromPretrained(CHECKPOINT, { dtype: wrong("int8") }), { code: "ERR_INVALID_ARGUMENT" });
  await t.rejects(LDMPipeline.fromPretrained(CHECKPOINT, { unet: wrong({}) }), { message: /a UNet2DModel for unet/ });
  const folder = t.testdir({});
  cpSync(CHECKPOINT, folder, { recursive: true });
  const index = join(folder, "model_index.json");
  const text = readFileSync(index, "utf8");
  writeFileSync(index, text.replace('"DDIMScheduler"', '"EDMEulerScheduler"'));
  await t.rejects(LDMPipeline.fromPretrained(folder), {
    code: "ERR_CONFIG_UNSUPPORTED",
    message: /"DDIMScheduler".* for the scheduler .* but received "EDMEulerScheduler"/,
  });
  const brought = await LDMPipeline.fromPretrained(folder, { optimize: false, scheduler: new DDIMScheduler() });
  brought.dispose();
  writeFileSync(index, text.replace('"VQModel"', '"AutoencoderKL"'));
  await t.rejects(LDMPipeline.fromPretrained(folder), {
    code: "ERR_CONFIG_UNSUPPORTED",
    message: /"VQModel" for the vqvae .* "AutoencoderKL"/,
  });
});
