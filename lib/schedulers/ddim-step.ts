import type { Tensor } from "../torch/tensor.js";
import type { Arithmetic } from "./shared/arithmetic.js";
import type { DDIMCoefficients } from "./ddim-coefficients.js";
import type { DDIMConfigKeys } from "./ddim-config.js";
import { thresholdSample } from "./shared/thresholding.js";

/** The config keys that shape one step. */
type StepConfig = Readonly<
  Pick<
    DDIMConfigKeys,
    | "prediction_type"
    | "thresholding"
    | "dynamic_thresholding_ratio"
    | "sample_max_value"
    | "clip_sample"
    | "clip_sample_range"
  >
>;

/** How much noise a step adds, and which. */
interface StepNoise {
  readonly eta: number;
  readonly useClippedModelOutput: boolean;
  /** Draws the fresh noise; called with `eta` above 0 only, so that a deterministic run leaves its generator alone. */
  readonly noise: () => Tensor;
}

/**
 * Take one DDIM step, each operation the one that diffusers dispatches, in its order.
 *
 * 1. the timestep after this one  2. alphas and betas of both: the coefficients
 * 3. predict x_0  4. clip or threshold it  5. sigma_t, among the coefficients
 * 6. the direction pointing to x_t  7. x_(t-1), without and with fresh noise
 *
 * | variable | paper |
 * |---|---|
 * | `sqrtAlpha`, `sqrtAlphaPrev` | square roots of alpha_t and alpha_(t-1) |
 * | `predEpsilon` | e_theta(x_t, t) |
 * | `predOriginalSample` | f_theta(x_t, t), x_0 |
 * | `stdDev` | sigma_t(eta) |
 * | `direction` | "direction pointing to x_t" |
 * | `prevSample` | x_(t-1) |
 *
 * @param modelOutput floating `[batch, channels, height, width]`
 * @param sample x_t, of the same shape
 * @see https://arxiv.org/abs/2010.02502 formulas (12) and (16), diffusers.DDIMScheduler.step
 */
export function ddimStep(
  torch: Arithmetic,
  config: StepConfig,
  coefficients: DDIMCoefficients,
  modelOutput: Tensor,
  sample: Tensor,
  fresh: StepNoise,
): { prevSample: Tensor; predOriginalSample: Tensor } {
  // 3. "predicted x_0" of formula (12), and the noise that goes with it
  const predicted = predict(torch, config, coefficients, modelOutput, sample);

  // 4. Clip or threshold "predicted x_0"
  const predOriginalSample = limit(torch, config, predicted.original);

  // GLIDE derives the noise again from the clipped x_0
  const predEpsilon = fresh.useClippedModelOutput
    ? noiseBetween(torch, coefficients, sample, predOriginalSample)
    : predicted.epsilon;

  // 6. "direction pointing to x_t" of formula (12)
  const direction = torch.mul(coefficients.directionScale, predEpsilon);

  // 7. x_(t-1) without random noise, then with
  const withoutNoise = torch.add(torch.mul(coefficients.sqrtAlphaPrev, predOriginalSample), direction);
  if (fresh.eta === 0) return { prevSample: withoutNoise, predOriginalSample };
  const prevSample = torch.add(withoutNoise, torch.mul(coefficients.stdDev, fresh.noise()));
  return { prevSample, predOriginalSample };
}

/** x_0 and e_theta, of which the network gave one, or a mixture. */
function predict(
  torch: Arithmetic,
  { prediction_type: type }: StepConfig,
  coefficients: DDIMCoefficients,
  modelOutput: Tensor,
  sample: Tensor,
): { original: Tensor; epsilon: Tensor } {
  const { sqrtAlpha, sqrtBeta } = coefficients;
  switch (type) {
    case "epsilon":
      return {
        original: torch.div(torch.sub(sample, torch.mul(sqrtBeta, modelOutput)), sqrtAlpha),
        epsilon: modelOutput,
      };
    case "sample":
      return { original: modelOutput, epsilon: noiseBetween(torch, coefficients, sample, modelOutput) };
    case "v_prediction":
      return {
        original: torch.sub(torch.mul(sqrtAlpha, sample), torch.mul(sqrtBeta, modelOutput)),
        epsilon: torch.add(torch.mul(sqrtAlpha, modelOutput), torch.mul(sqrtBeta, sample)),
      };
  }
}

function limit(torch: Arithmetic, config: StepConfig, predicted: Tensor): Tensor {
  if (config.thresholding)
    return thresholdSample(torch, predicted, config.dynamic_thresholding_ratio, config.sample_max_value);
  return config.clip_sample
    ? torch.op("clamp", predicted, -config.clip_sample_range, config.clip_sample_range)
    : predicted;
}

/** e_theta of a sample and the clean sample that it is to come from. */
function noiseBetween(torch: Arithmetic, coefficients: DDIMCoefficients, sample: Tensor, original: Tensor): Tensor {
  return torch.div(torch.sub(sample, torch.mul(coefficients.sqrtAlpha, original)), coefficients.sqrtBeta);
}
