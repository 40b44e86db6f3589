import { join } from "node:path";
import t from "tap";
import { Generator } from "../../lib/torch/generator.js";
import type { Tensor } from "../../lib/torch/tensor.js";
import { DPMSolverMultistepScheduler } from "../../lib/schedulers/dpm-solver-multistep.js";
import type { UNet2DCachedOptions } from "../../lib/models/unet-2d/model.js";
import { LDMPipeline } from "../../lib/pipelines/ldm.js";
import type { DenoisingNetwork } from "../../lib/pipelines/shared/components.js";
import { type CacheOptions, planCache } from "../../lib/pipelines/shared/cache.js";

const CHECKPOINT = join(__dirname, "..", "fixtures", "pipelines", "tiny", "checkpoint");
const RUN = { outputType: "array", numInferenceSteps: 10 } as const;

/** Note each evaluation that keeps or reuses features. */
function watch(pipe: LDMPipeline): { whole: boolean[]; features: Set<Tensor> } {
  const seen = { whole: [] as boolean[], features: new Set<Tensor>() };
  const forward = pipe.unet.forwardCached.bind(pipe.unet);
  pipe.unet.forwardCached = async (sample: Tensor, timestep: number | Tensor, options?: UNet2DCachedOptions) => {
    seen.whole.push(options?.features === undefined);
    const output = await forward(sample, timestep, options);
    seen.features.add(output.features);
    return output;
  };
  return seen;
}

const wholeSteps = (whole: readonly boolean[]): number[] => whole.flatMap((yes, i) => (yes ? [i] : []));
const left = (features: Iterable<Tensor>): Tensor[] => [...features].filter((tensor) => !tensor.disposed);

async function pictures(pipe: LDMPipeline, options: object = {}): Promise<Float32Array> {
  const { images } = await pipe.generate({ ...RUN, generator: Generator.fromSeed(4), ...options });
  return images.data;
}

t.test("every third evaluation is whole, and the others reuse its features", async (t) => {
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  const usual = await pictures(pipe, { batchSize: 2 });
  const seen = watch(pipe);
  t.strictSame(await pictures(pipe, { batchSize: 2, cache: { interval: 1 } }), usual, "interval 1 is the default");
  t.equal(seen.whole.length, 0);
  const cached = await pictures(pipe, { batchSize: 2, cache: { interval: 3 } });
  t.strictSame(wholeSteps(seen.whole), [0, 3, 6, 9]);
  t.equal(seen.whole.length, 10);
  t.equal(seen.features.size, 4);
  t.strictSame(left(seen.features), [], "all features are freed");
  t.notSame(cached, usual);
  t.strictSame(
    await pictures(pipe, { batchSize: 2, cache: { interval: 3, branch: 0 } }),
    cached,
    "branch 0 is the default",
  );
  t.notSame(await pictures(pipe, { batchSize: 2, cache: { interval: 3, branch: 2 } }), cached);
});

t.test("works with eta, several evaluations per step, bfloat16, and a move in between", async (t) => {
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  const seen = watch(pipe);
  await pictures(pipe, { cache: { interval: 2 }, eta: 0.5 });
  t.strictSame(wholeSteps(seen.whole), [0, 2, 4, 6, 8]);
  pipe.scheduler = DPMSolverMultistepScheduler.fromConfig(pipe.scheduler.config);
  await pictures(pipe, { cache: { interval: 4, branch: 1 } });
  seen.whole.length = 0;
  const moving = async ({ step }: { step: number }): Promise<unknown> => (step === 2 ? pipe.to("bfloat16") : undefined);
  await pictures(pipe, { cache: { interval: 5 }, onProgress: moving });
  t.strictSame(wholeSteps(seen.whole), [0, 2, 5], "features of another dtype are not reused");
  t.strictSame(left(seen.features), []);
});

t.test("an abort, an error and leaving a stream free the features", async (t) => {
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  const seen = watch(pipe);
  const controller = new AbortController();
  const stop = ({ step }: { step: number }): void => {
    if (step === 2) controller.abort();
  };
  const cache = { interval: 3 };
  await t.rejects(pictures(pipe, { cache, signal: controller.signal, onProgress: stop }), { name: "AbortError" });
  await t.rejects(
    pictures(pipe, {
      cache,
      onProgress: () => {
        throw new RangeError("own");
      },
    }),
    RangeError,
  );
  for await (const { step } of pipe.stream({ ...RUN, cache })) if (step === 2) break;
  t.ok(seen.features.size >= 3);
  t.strictSame(left(seen.features), []);
});

t.test("whole evaluations may gather around one", (t) => {
  const unet = { cacheBranches: 4 } as never;
  const plan = (cache: CacheOptions, count: number): number[] =>
    [...(planCache(cache, unet, count)?.whole ?? [])].sort((a, b) => a - b);
  t.strictSame(plan({ interval: 5 }, 20), [0, 5, 10, 15]);
  t.strictSame(plan({ interval: 5, center: 7, power: 1 }, 20), [0, 5, 10, 15], "power 1 is uniform");
  const near = plan({ interval: 5, center: 10, power: 2 }, 50);
  t.equal(near[0], 0, "the first is always whole");
  t.ok(near.length <= 10 && near.every((index) => index < 50));
  const gaps = near.slice(1).map((index, i) => index - (near[i] ?? 0));
  const closest = gaps.indexOf(Math.min(...gaps));
  t.ok(Math.abs((near[closest] ?? 0) - 10) <= 5, "they are closest around the center");
  t.equal(planCache({ interval: 1 }, unet, 20), undefined);
  t.equal(planCache(undefined, unet, 20), undefined);
  t.end();
});

t.test("refuses what cannot be", async (t) => {
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  const refused = (cache: unknown, message: RegExp): Promise<unknown> =>
    t.rejects(pipe.generate({ cache: cache as CacheOptions }), { message, code: "ERR_INVALID_ARGUMENT" });
  await refused({ interval: 0 }, /cache\.interval/);
  await refused({}, /cache\.interval/);
  await refused({ interval: 2.5 }, /cache\.interval/);
  await refused({ interval: 2, branch: pipe.unet.cacheBranches }, /cache\.branch/);
  await refused({ interval: 2, center: 50 }, /cache\.center/);
  await refused({ interval: 2, center: 5, power: 0.5 }, /cache\.power/);
  await refused({ interval: 2, depth: 1 }, /depth/);
  await refused(3, /cache/);
  const traced = { className: undefined, config: pipe.unet.config } as unknown as DenoisingNetwork;
  t.throws(() => planCache({ interval: 2 }, traced, 10), { code: "ERR_CONFIG_UNSUPPORTED", message: /TorchScript/ });
});
