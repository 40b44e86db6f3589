import { InvalidArgumentError } from "../../errors.js";
import { Tensor } from "../../torch/tensor.js";
import { checkInteger, isArray, unexpected } from "../../validate.js";
import { type Arithmetic, compute } from "./arithmetic.js";

/**
 * Add noise to clean samples as training does, q(x_t | x_0).
 * @param alphasCumprod the scheduler's table
 * @param timesteps one, or one a sample
 * @see diffusers.DDPMScheduler.add_noise
 */
export function addNoise(
  alphasCumprod: Float32Array,
  originalSamples: Tensor,
  noise: Tensor,
  timesteps: number | readonly number[],
): Tensor {
  checkPair(originalSamples, "originalSamples", noise);
  return compute((torch) => {
    const [sqrtAlpha, sqrtOneMinusAlpha] = scales(torch, alphasCumprod, originalSamples, timesteps);
    return torch.add(torch.mul(sqrtAlpha, originalSamples), torch.mul(sqrtOneMinusAlpha, noise));
  });
}

/**
 * Compute the velocity between sample and noise, what a network with `v_prediction` is trained on.
 * @param alphasCumprod the scheduler's table
 * @param timesteps one, or one a sample
 * @see https://arxiv.org/abs/2202.00512, diffusers.DDPMScheduler.get_velocity
 */
export function velocity(
  alphasCumprod: Float32Array,
  sample: Tensor,
  noise: Tensor,
  timesteps: number | readonly number[],
): Tensor {
  checkPair(sample, "sample", noise);
  return compute((torch) => {
    const [sqrtAlpha, sqrtOneMinusAlpha] = scales(torch, alphasCumprod, sample, timesteps);
    return torch.sub(torch.mul(sqrtAlpha, noise), torch.mul(sqrtOneMinusAlpha, sample));
  });
}

/** sqrt(alpha_t) and sqrt(1 - alpha_t) in the sample's dtype, shaped to scale each sample: `[n, 1, 1, ...]`. */
function scales(
  torch: Arithmetic,
  alphasCumprod: Float32Array,
  sample: Tensor,
  timesteps: number | readonly number[],
): readonly [Tensor, Tensor] {
  const picked = checkTimesteps(timesteps, sample.shape[0] ?? 1, alphasCumprod.length).map(
    (t) => alphasCumprod[t] ?? NaN,
  );
  const shape = [picked.length, ...sample.shape.slice(1).map(() => 1)];
  const table = torch.own(Tensor.from(Float32Array.from(picked), shape));
  const placed = sample.device === "cpu" ? table : torch.op("to.device", table, sample.device, "float32");
  const alphas = torch.op("to.dtype", placed, sample.dtype);
  return [torch.pow(alphas, 0.5), torch.pow(torch.rsub(alphas, 1), 0.5)];
}

function checkTimesteps(timesteps: unknown, batch: number, count: number): readonly number[] {
  const list: readonly unknown[] = isArray(timesteps) ? timesteps : [timesteps];
  if (list.length !== 1 && list.length !== batch) {
    throw new InvalidArgumentError(
      `Expected one timestep, or ${batch}, one a sample, for timesteps but received ${list.length}`,
    );
  }
  return list.map((t, i) => checkInteger(t, isArray(timesteps) ? `timesteps[${i}]` : "timesteps", 0, count - 1));
}

function checkPair(sample: Tensor, name: string, noise: Tensor): void {
  if (!(sample instanceof Tensor)) throw unexpected("a Tensor", name, sample);
  if (!(noise instanceof Tensor)) throw unexpected("a Tensor", "noise", noise);
  if (noise.shape.join() !== sample.shape.join()) {
    throw new InvalidArgumentError(
      `Expected the shape [${sample.shape.join(", ")}] of ${name} for noise but received [${noise.shape.join(", ")}]`,
    );
  }
}
