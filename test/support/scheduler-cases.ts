import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Test } from "tap";
import type { JsonObject } from "../../lib/files/json.js";
import type { SetTimestepsOptions } from "../../lib/schedulers/contract.js";
import { schedulerFromConfig } from "../../lib/schedulers/known.js";
import { Generator } from "../../lib/torch/generator.js";
import { type DDIMConfigKeys, DDIMScheduler } from "../../lib/schedulers/ddim.js";
import { op, Tensor } from "../../lib/torch/tensor.js";
import { assertTensorEqual, pick, readTensors, toTensor } from "./tensors.js";

/** What reference/schedulers.py says of one trajectory. */
interface TrajectoryCase {
  readonly config: Partial<DDIMConfigKeys>;
  readonly eta: number;
  readonly steps: number;
  readonly shape: readonly number[];
  /** One generator for the batch, one an image, or the noise itself. */
  readonly noise: "generator" | "generators" | "tensor";
  readonly clipped: boolean;
  readonly timesteps: readonly number[];
}

/** Read a case's description. */
export function readCase(folder: string): unknown {
  return JSON.parse(readFileSync(join(folder, "case.json"), "utf8"));
}

/** Step through the trajectory that Python stepped through, and compare timesteps, table and every step's results. */
export async function replayTrajectory(t: Test, folder: string, tolerance: number): Promise<ComparedRun> {
  const { config, eta, steps, shape, noise, clipped, timesteps } = readCase(folder) as TrajectoryCase;
  const tensors = readTensors(join(folder, "tensors.safetensors"));
  const stacked = (name: string): Tensor => toTensor(pick(tensors, name));
  const scheduler = new DDIMScheduler(config);
  scheduler.setTimesteps(steps);
  t.strictSame(scheduler.timesteps, timesteps, "timesteps");
  // Rescaling takes roots, which LibTorch does not round alike on all CPUs.
  const table = { tolerance: config.rescale_betas_zero_snr ? tolerance : 0, name: "alphas_cumprod" };
  await assertTensorEqual(t, Tensor.from(scheduler.alphasCumprod), pick(tensors, "alphas_cumprod"), table);
  const outputs = stacked("model_outputs");
  const noises = noise === "tensor" ? stacked("variance_noises") : undefined;
  const generator =
    noise === "generators"
      ? Array.from({ length: shape[0] ?? 1 }, (_, i) => Generator.fromSeed(10 + i))
      : Generator.fromSeed(10);
  const previous: Tensor[] = [];
  const originals: Tensor[] = [];
  let sample = stacked("sample");
  for (const [i, timestep] of timesteps.entries()) {
    const source = noises ? { varianceNoise: op("select.int", noises, 0, i) } : { generator };
    const result = scheduler.step(op("select.int", outputs, 0, i), timestep, sample, {
      eta,
      useClippedModelOutput: clipped,
      ...source,
    });
    previous.push(result.prevSample);
    originals.push(result.predOriginalSample);
    sample = result.prevSample;
  }
  await assertTensorEqual(t, op("stack", originals), pick(tensors, "pred_original_samples"), {
    tolerance,
    name: "predicted clean samples",
  });
  await assertTensorEqual(t, op("stack", previous), pick(tensors, "prev_samples"), {
    tolerance,
    name: "previous samples",
  });
  return { className: "DDIMScheduler", evaluations: timesteps.length, tolerance, why: "", passed: t.passing() };
}

/** What reference/scheduler_cases.py says of one run. */
interface RunCase {
  readonly name: string;
  /** Why it is not bit for bit. */
  readonly why?: string;
  readonly class: string;
  readonly config: JsonObject;
  readonly steps: number | null;
  readonly lists?: SetTimestepsOptions;
  readonly step?: Readonly<Record<string, number>>;
  readonly tolerance?: number;
  /** Whether each image has a generator of its own. */
  readonly generators?: boolean;
  /** Only the timesteps are made of numpy's logarithms, which depend on the CPU. */
  readonly log_timesteps?: boolean;
  readonly timesteps: readonly number[];
  readonly init_noise_sigma: number;
}

/** The relative tolerance of timesteps that are made of logarithms. */
const LOG_TIMESTEPS = 1e-5;

const camelCase = (name: string): string => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

const inCamelCase = (options: object = {}): Record<string, unknown> =>
  Object.fromEntries(Object.entries(options).map(([name, value]) => [camelCase(name), value]));

/** What a run compared, for a report. */
export interface ComparedRun {
  readonly className: string;
  readonly evaluations: number;
  /** Relative; 0 is bit for bit. */
  readonly tolerance: number;
  readonly why: string;
  readonly passed: boolean;
}

/** Outputs that single classes have, by Python's names. */
const MORE_OUTPUTS = ["denoised", "pred_noised_sample"];

/**
 * Step through a run of any scheduler as Python did, each step from Python's own sample, and compare everything.
 * @param least the smallest tolerance, for goldens of another CPU
 * @returns what was compared
 */
export async function replayRun(t: Test, folder: string, least = 0): Promise<ComparedRun> {
  const given = readCase(folder) as RunCase;
  const tensors = readTensors(join(folder, "tensors.safetensors"));
  const tolerance = Math.max(given.tolerance ?? 0, least);
  const scheduler = schedulerFromConfig({ ...given.config, _class_name: given.class });
  scheduler.setTimesteps(given.steps ?? undefined, inCamelCase(given.lists));
  scheduler.checkSteps({ eta: given.step?.eta });
  compareNumbers(
    t,
    "timesteps",
    scheduler.timesteps,
    given.timesteps,
    Math.max(tolerance, given.log_timesteps ? LOG_TIMESTEPS : 0),
  );
  compareNumbers(t, "initNoiseSigma", [scheduler.initNoiseSigma], [given.init_noise_sigma], tolerance);
  if (tensors.has("sigmas") && "sigmas" in scheduler)
    compareNumbers(t, "sigmas", scheduler.sigmas as Float32Array, pick(tensors, "sigmas").values(), tolerance);
  const all = { outputs: toTensor(pick(tensors, "model_outputs")), previous: toTensor(pick(tensors, "prev_samples")) };
  const generator = given.generators
    ? Array.from({ length: all.outputs.shape[1] ?? 1 }, (_, i) => Generator.fromSeed(10 + i))
    : Generator.fromSeed(10);
  const options = inCamelCase(given.step);
  const more = MORE_OUTPUTS.filter((name) => tensors.has(name)).map((name): [string, Tensor[]] => [name, []]);
  const made = {
    scaled: [] as Tensor[],
    prev_samples: [] as Tensor[],
    pred_original_samples: [] as Tensor[],
    ...Object.fromEntries(more),
  };
  let sample = toTensor(pick(tensors, "sample"));
  for (const [i, timestep] of scheduler.timesteps.entries()) {
    made.scaled.push(scheduler.scaleModelInput(sample, timestep));
    const output = op("select.int", all.outputs, 0, i);
    const result = scheduler.step(output, timestep, sample, { ...options, generator });
    made.prev_samples.push(result.prevSample);
    for (const [name, list] of more)
      list.push((result as unknown as Record<string, Tensor>)[camelCase(name)] as Tensor);
    if (result.predOriginalSample) made.pred_original_samples.push(result.predOriginalSample);
    sample = tolerance > 0 ? op("select.int", all.previous, 0, i) : result.prevSample;
  }
  t.equal(made.pred_original_samples.length, scheduler.timesteps.length, "every step predicts the clean sample");
  for (const [name, list] of Object.entries(made)) {
    if (!tensors.has(name)) continue;
    const expected = pick(tensors, name);
    const largest = expected.values().reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    await assertTensorEqual(t, op("stack", list), expected, { tolerance: tolerance * largest, name });
  }
  return {
    className: given.class,
    evaluations: scheduler.timesteps.length,
    tolerance: Math.max(tolerance, given.log_timesteps ? LOG_TIMESTEPS : 0),
    why: given.why ?? "",
    passed: t.passing(),
  };
}

function compareNumbers(
  t: Test,
  name: string,
  found: ArrayLike<number>,
  expected: readonly number[],
  relative: number,
): void {
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const far = expected.findIndex((value, i) => !(Math.abs((found[i] ?? NaN) - value) <= relative * largest));
  t.ok(found.length === expected.length && far < 0, `${name}: ${found.length} numbers`, {
    index: far,
    found: found[far],
    expected: expected[far],
  });
}
