import { join } from "node:path";
import t from "tap";
import type { NumericArray } from "../../lib/native/contract.js";
import { Generator } from "../../lib/torch/generator.js";
import { op, type Tensor } from "../../lib/torch/tensor.js";
import type { Scheduler } from "../../lib/schedulers/contract.js";
import { DDIMScheduler } from "../../lib/schedulers/ddim.js";
import { UNet2DModel } from "../../lib/models/unet-2d/model.js";
import { VQModel } from "../../lib/models/vq/model.js";
import { LDMPipeline } from "../../lib/pipelines/ldm.js";
import type { DenoisingNetwork } from "../../lib/pipelines/shared/components.js";
import { denoise, type DenoisedStep, type DenoiseOptions, drawLatents } from "../../lib/pipelines/shared/denoise.js";

const CHECKPOINT = join(__dirname, "..", "fixtures", "pipelines", "tiny", "checkpoint");
const SHAPE = [1, 2, 4, 4];
const STEPS = 4;

/** Everything that a run makes, as far as a network and a scheduler can see it. */
class Ledger {
  readonly tensors: Tensor[] = [];

  note<T extends Tensor | undefined>(tensor: T): T {
    if (tensor && !this.tensors.includes(tensor)) this.tensors.push(tensor);
    return tensor;
  }

  get left(): Tensor[] {
    return this.tensors.filter((tensor) => !tensor.disposed);
  }
}

interface Faults {
  /** Called with the number of the forward, from 1, before it answers. */
  forward?: (count: number) => void;
  step?: (count: number) => void;
  /** A factor on what comes out at a step. */
  modelFactor?: (count: number) => number;
  stepFactor?: (count: number) => number;
  prediction?: "epsilon" | "sample";
  channels?: number;
}

/** A network that halves its input and a real DDIM, both of which note what passes. */
function makeParts(ledger: Ledger, faults: Faults = {}): { unet: DenoisingNetwork; scheduler: Scheduler } {
  const ddim = new DDIMScheduler({ prediction_type: faults.prediction ?? "epsilon", clip_sample: false });
  ddim.setTimesteps(STEPS);
  let forwards = 0;
  let steps = 0;
  const unet = {
    device: "cpu",
    dtype: "float32",
    config: { in_channels: 2 },
    forward: async (sample: Tensor) => {
      forwards++;
      faults.forward?.(forwards);
      const half = op("mul.Scalar", sample, 0.5 * (faults.modelFactor?.(forwards) ?? 1));
      return { sample: ledger.note(faults.channels ? op("cat", [half, half], 1) : half) };
    },
  } as unknown as DenoisingNetwork;
  const scheduler = {
    timesteps: ddim.timesteps,
    initNoiseSigma: 1,
    scaleModelInput: (sample: Tensor) => ledger.note(op("mul.Scalar", ledger.note(sample), 1)),
    step: (...args: Parameters<Scheduler["step"]>) => {
      steps++;
      faults.step?.(steps);
      ledger.note(args[0]);
      const { prevSample, predOriginalSample } = ddim.step(...args);
      ledger.note(predOriginalSample);
      const factor = faults.stepFactor?.(steps) ?? 1;
      return { prevSample: ledger.note(op("mul.Scalar", prevSample, factor)), predOriginalSample };
    },
  } as unknown as Scheduler;
  return { unet, scheduler };
}

const noise = (seed = 0): Tensor => {
  const generator = Generator.fromSeed(seed);
  return generator.randn(SHAPE);
};

interface Outcome {
  readonly ledger: Ledger;
  readonly steps: DenoisedStep[];
  readonly latents: Tensor | undefined;
  readonly error: unknown;
}

/** Run until the end, an error, or after so many events. */
async function runFaulty(faults: Faults, options: Partial<DenoiseOptions> = {}, events = Infinity): Promise<Outcome> {
  const ledger = new Ledger();
  const { unet, scheduler } = makeParts(ledger, faults);
  const first = ledger.note(noise());
  const running = denoise(first, unet, { scheduler, generator: Generator.fromSeed(1), ...options });
  const steps: DenoisedStep[] = [];
  try {
    let result = await running.next();
    while (!result.done && steps.push(result.value) < events) result = await running.next();
    if (result.done) return { ledger, steps, latents: result.value, error: undefined };
    await running.return(undefined as never);
    return { ledger, steps, latents: undefined, error: undefined };
  } catch (error) {
    return { ledger, steps, latents: undefined, error };
  }
}

const fail = (at: number) => (count: number) => {
  if (count === at) throw new RangeError("on purpose");
};

t.test("what a step allocates is freed on every path", async (t) => {
  const calls = { alive: 0 };
  const cases: Record<string, [Faults, Partial<DenoiseOptions>?, number?]> = {
    "the end": [{}],
    "sample prediction": [{ prediction: "sample" }],
    "the first forward fails": [{ forward: fail(1) }],
    "a later forward fails": [{ forward: fail(3) }],
    "the scheduler fails": [{ step: fail(2) }],
    "the hook fails": [{}, { afterStep: ({ step }) => fail(2)(step) as undefined }],
    "a variance is learned too": [{ channels: 2 }],
    "nobody wants the rest": [{}, {}, 2],
    "the unet gives NaN": [{ modelFactor: (count) => (count === 2 ? NaN : 1) }],
    "the unet gives NaN for a sample": [{ prediction: "sample", modelFactor: (count) => (count === 2 ? NaN : 1) }],
    "the scheduler overflows": [{ stepFactor: (count) => (count === 3 ? Infinity : 1) }],
  };
  for (let at = 1; at <= 2 * STEPS; at++) {
    cases[`an abort at check ${at}`] = [
      {},
      {
        checkAlive: () => {
          calls.alive++;
          if (calls.alive === at) throw new RangeError("aborted");
        },
      },
    ];
  }
  for (const [name, [faults, options, events]] of Object.entries(cases)) {
    calls.alive = 0;
    const outcome = await runFaulty(faults, options, events);
    t.strictSame(
      outcome.ledger.left.filter((tensor) => tensor !== outcome.latents),
      [],
      name,
    );
    t.ok(outcome.ledger.tensors.length > 0, `${name}: the ledger saw something`);
    t.equal(
      outcome.error === undefined,
      name === "the end" || /variance|rest|^sample/.test(name),
      `${name}: as planned`,
    );
    outcome.latents?.dispose();
  }
  t.equal(calls.alive, 2 * STEPS, "asked before and after every forward");
});

t.test("the hook sees each step's latents, and may put others in their place", async (t) => {
  const seen: number[] = [];
  const given: Tensor[] = [];
  const outcome = await runFaulty(
    {},
    {
      afterStep: ({ step, steps, latents, predOriginalSample }) => {
        seen.push(step);
        t.equal(steps, STEPS);
        t.notOk(latents.disposed || predOriginalSample?.disposed);
        if (step !== 2) return undefined;
        const zeros = op("zeros", SHAPE);
        given.push(zeros);
        return zeros;
      },
    },
  );
  t.strictSame(seen, [1, 2, 3, 4]);
  t.equal(outcome.steps[1]?.latents, given[0], "told to who reads the events");
  t.ok(given[0]?.disposed, "the loop's own from then on");
  t.strictSame([...(outcome.latents?.dataSync() ?? [])], new Array(32).fill(0), "half of nothing is nothing");
});

t.test("denoising begins where it is told to", async (t) => {
  const ledger = new Ledger();
  const { unet, scheduler } = makeParts(ledger);
  const running = denoise(noise(), unet, { scheduler, generator: Generator.fromSeed(1), begin: 2 });
  const steps: number[] = [];
  for await (const { step, timestep } of running) {
    steps.push(step);
    t.equal(timestep, scheduler.timesteps[step - 1]);
  }
  t.strictSame(steps, [3, 4]);
});

t.test("NaN and infinity: the component and the step where they began", async (t) => {
  const message = async (faults: Faults, options?: Partial<DenoiseOptions>): Promise<unknown> => {
    const { error } = await runFaulty(faults, options);
    t.match(error, { code: "ERR_NON_FINITE_OUTPUT", name: "LatentDiffusionError" });
    return (error as Error).message;
  };
  t.match(
    await message({ modelFactor: (count) => (count === 2 ? NaN : 1) }),
    /^Expected finite numbers from the unet but received NaN or infinity at step 2 of 4, timestep 500; pass allowNonFinite/,
  );
  t.match(await message({ modelFactor: (count) => (count === 1 ? Infinity : 1) }), /the unet .* step 1 of 4/);
  t.match(await message({ stepFactor: (count) => (count === 3 ? Infinity : 1) }), /the scheduler .* step 3 of 4/);
  const afterStep = ({ step, latents }: DenoisedStep): Tensor | undefined =>
    step === 2 ? op("mul.Scalar", latents, NaN) : undefined;
  t.match(await message({}, { afterStep }), /the latents that were given .* step 3 of 4/);
  const { error, latents } = await runFaulty({ modelFactor: () => NaN }, { allowNonFinite: true });
  t.equal(error, undefined);
  t.ok(Number.isNaN(latents?.dataSync()[0]));
});

const spoil = ({ sample }: { sample: Tensor }): { sample: Tensor } => ({ sample: op("mul.Scalar", sample, NaN) });

t.test("a pipeline names the component whatever the form of the images, in every dtype", async (t) => {
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  const { unet, vqvae } = pipe;
  for (const dtype of ["float32", "bfloat16", "float16", "float64"] as const) {
    await pipe.to(dtype);
    for (const outputType of ["image", "array", "tensor"] as const) {
      const run = { numInferenceSteps: 2, seed: 1, batchSize: 2, outputType };
      const forward = UNet2DModel.prototype.forward;
      unet.forward = async (...args) => spoil(await forward.apply(unet, args));
      await t.rejects(pipe.generate(run), { code: "ERR_NON_FINITE_OUTPUT", message: /unet .* step 1 of 2/ });
      await t.resolves(pipe.generate({ ...run, allowNonFinite: true }), `unet, ${dtype}, ${outputType}`);
      unet.forward = forward;
      const decode = VQModel.prototype.decode;
      vqvae.decode = async (...args) => spoil(await decode.apply(vqvae, args));
      await t.rejects(pipe.generate(run), { code: "ERR_NON_FINITE_OUTPUT", message: /vqvae .* image 1 of 2/ });
      await t.resolves(pipe.generate({ ...run, allowNonFinite: true }), `vqvae, ${dtype}, ${outputType}`);
      vqvae.decode = decode;
    }
  }
  await t.rejects(pipe.generate({ allowNonFinite: "yes" as never }), { code: "ERR_INVALID_ARGUMENT" });
});

/** Millions of values take seconds to compare one by one. */
const isSame = (a: NumericArray, b: NumericArray): boolean =>
  Buffer.compare(
    Buffer.from(a.buffer, a.byteOffset, a.byteLength),
    Buffer.from(b.buffer, b.byteOffset, b.byteLength),
  ) === 0;

t.test("much noise is drawn off the event loop, the same numbers in the same order", async (t) => {
  const unet = { device: "cpu", dtype: "float32" } as DenoisingNetwork;
  const scheduler = new DDIMScheduler();
  const latentShape = [5, 4, 256, 256];
  const one = Generator.fromSeed(7);
  const drawn = drawLatents(unet, { latentShape, scheduler, generator: one });
  const expected = Generator.fromSeed(7).randn(latentShape);
  t.ok(isSame((await drawn).dataSync(), expected.dataSync()), "one generator");
  const each = [1, 2, 3, 4, 5].map((seed) => Generator.fromSeed(seed));
  const several = (await drawLatents(unet, { latentShape, scheduler, generator: each })).dataSync();
  each.forEach((_, i) => {
    const own = Generator.fromSeed(i + 1)
      .randn([1, 4, 256, 256])
      .dataSync();
    t.ok(isSame(several.slice(i * own.length, (i + 1) * own.length), own), `image ${i}`);
  });
  const controller = new AbortController();
  const waiting = drawLatents(unet, { latentShape, scheduler, generator: one, signal: controller.signal });
  controller.abort();
  await t.rejects(waiting, { name: "AbortError" }, "it is not waited for");
});

t.test("an abort is seen before the first forward", async (t) => {
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  let forwards = 0;
  const forward = UNet2DModel.prototype.forward;
  pipe.unet.forward = (...args) => {
    forwards++;
    return forward.apply(pipe.unet, args);
  };
  const controller = new AbortController();
  const running = pipe.generate({ numInferenceSteps: 3, signal: controller.signal });
  controller.abort();
  await t.rejects(running, { name: "AbortError" });
  t.equal(forwards, 0);
  await pipe.generate({ numInferenceSteps: 3 });
  t.equal(forwards, 3);
});
