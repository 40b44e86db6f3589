import { LatentDiffusionError } from "../errors.js";
import type { Tensor } from "../torch/tensor.js";
import type { Arithmetic } from "./shared/arithmetic.js";

/** The numbers of one DDIM step, each a float32 tensor without dimensions. */
export interface DDIMCoefficients {
  /** sqrt(alpha_t). */
  readonly sqrtAlpha: Tensor;
  /** sqrt(1 - alpha_t). */
  readonly sqrtBeta: Tensor;
  /** sqrt(alpha_(t-1)). */
  readonly sqrtAlphaPrev: Tensor;
  /** sigma_t, formula (16). */
  readonly stdDev: Tensor;
  /** sqrt(1 - alpha_(t-1) - sigma_t^2), the length of the "direction pointing to x_t". */
  readonly directionScale: Tensor;
}

/** What is left of the clean sample before and after a step. */
export interface StepAlphas {
  /** alpha_t, the cumulative product at the step's timestep. */
  readonly alpha: number;
  /** alpha_(t-1), that at the timestep after it. */
  readonly alphaPrev: number;
  /** The step's name for messages. */
  readonly where: string;
}

/** Up to here sigma_t^2 is less than 1 - alpha_(t-1), however float32 rounds. */
export const SAFE_ETA = 0.99;

/**
 * Refuse a step that divides by zero.
 * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED`
 */
export function checkAlphas({ alpha, alphaPrev, where }: StepAlphas): void {
  if (Math.fround(1 - alpha) === 0)
    throw unsolvable(where, "there is no noise to remove: the betas up to it are 0 in float32");
  if (alphaPrev === 0)
    throw unsolvable(where, "nothing of the sample is left even after the step: the betas are too large");
}

/**
 * Compute a step's coefficients, and refuse a step that PyTorch makes NaN of. Roots are taken by `pow`, as diffusers takes
 * them: LibTorch's `pow(x, 0.5)` is not rounded as a square root is.
 * @param eta in [0, 1]
 * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED`
 * @see https://arxiv.org/abs/2010.02502 formulas (12) and (16)
 */
export function ddimCoefficients(
  torch: Arithmetic,
  { alpha, alphaPrev, where }: StepAlphas,
  eta: number,
): DDIMCoefficients {
  const alphaProd = torch.scalar(alpha);
  const alphaProdPrev = torch.scalar(alphaPrev);
  const betaProd = torch.rsub(alphaProd, 1);
  const betaProdPrev = torch.rsub(alphaProdPrev, 1);

  // sigma_t(eta) = eta * sqrt((1 - alpha_(t-1)) / (1 - alpha_t)) * sqrt(1 - alpha_t / alpha_(t-1))
  const variance = torch.mul(torch.div(betaProdPrev, betaProd), torch.rsub(torch.div(alphaProd, alphaProdPrev), 1));
  const stdDev = torch.mul(torch.pow(variance, 0.5), eta);
  const directionVariance = torch.sub(betaProdPrev, torch.pow(stdDev, 2));
  // Zero in theory where a step removes all the noise with eta 1, and then at times below it by rounding.
  if (!(Number(directionVariance.dataSync()[0]) >= 0)) {
    throw unsolvable(
      where,
      `with eta ${eta} the noise to add is, in float32, more than there may be; take eta ${SAFE_ETA} or less`,
    );
  }
  return {
    sqrtAlpha: torch.pow(alphaProd, 0.5),
    sqrtBeta: torch.pow(betaProd, 0.5),
    sqrtAlphaPrev: torch.pow(alphaProdPrev, 0.5),
    stdDev,
    directionScale: torch.pow(directionVariance, 0.5),
  };
}

/** A step that diffusers computes too, as NaN or infinity. */
export function unsolvable(where: string, why: string): LatentDiffusionError {
  return new LatentDiffusionError("ERR_CONFIG_UNSUPPORTED", `DDIM cannot step at ${where}: ${why}`);
}
