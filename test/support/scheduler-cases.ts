import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Test } from "tap";
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
export async function replayTrajectory(t: Test, folder: string, tolerance: number): Promise<void> {
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
}
