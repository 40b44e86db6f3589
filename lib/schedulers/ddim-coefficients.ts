import { LatentDiffusionError } from "../errors.js";

/** The numbers of one DDIM step, each a float32. */
export interface DDIMCoefficients {
  /** sqrt(alpha_t). */
  readonly sqrtAlpha: number;
  /** sqrt(1 - alpha_t). */
  readonly sqrtBeta: number;
  /** sqrt(alpha_(t-1)). */
  readonly sqrtAlphaPrev: number;
  /** sigma_t, formula (16). */
  readonly stdDev: number;
  /** sqrt(1 - alpha_(t-1) - sigma_t^2), the length of the "direction pointing to x_t". */
  readonly directionScale: number;
}

/** Rounding each operation of doubles to float32 gives what float32 arithmetic gives, the four operations and sqrt alike. */
const f32 = Math.fround;

/**
 * Compute a step's coefficients as PyTorch does with float32 tensors of no dimensions, and refuse a step that it makes NaN of.
 * @param alpha alpha_t, the cumulative product at the step's timestep
 * @param alphaPrev alpha_(t-1), that at the timestep after it
 * @param eta in [0, 1]
 * @param where the step's name for the message
 * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED`
 * @see https://arxiv.org/abs/2010.02502 formulas (12) and (16)
 */
export function ddimCoefficients(alpha: number, alphaPrev: number, eta: number, where: string): DDIMCoefficients {
  const beta = f32(1 - alpha);
  const betaPrev = f32(1 - alphaPrev);
  const variance = f32(f32(betaPrev / beta) * f32(1 - f32(alpha / alphaPrev)));
  const stdDev = f32(f32(eta) * f32(Math.sqrt(variance)));
  const directionVariance = f32(betaPrev - f32(stdDev * stdDev));
  if (beta === 0) throw unsolvable(where, "there is no noise to remove: the betas up to it are 0 in float32");
  if (alphaPrev === 0) throw unsolvable(where, "nothing of the sample is left even after the step: the betas are too large");
  if (!(variance >= 0)) throw unsolvable(where, "the betas before it are not rising noise");
  if (!(directionVariance >= 0)) {
    throw unsolvable(where, `with eta ${eta} the noise to add is, in float32, more than there may be; take eta 0.99 or less`);
  }
  return {
    sqrtAlpha: f32(Math.sqrt(alpha)), sqrtBeta: f32(Math.sqrt(beta)), sqrtAlphaPrev: f32(Math.sqrt(alphaPrev)),
    stdDev, directionScale: f32(Math.sqrt(directionVariance)),
  };
}

/** A step that diffusers computes too, as NaN or infinity. */
export function unsolvable(where: string, why: string): LatentDiffusionError {
  return new LatentDiffusionError("ERR_CONFIG_UNSUPPORTED", `DDIM cannot step at ${where}: ${why}`);
}
