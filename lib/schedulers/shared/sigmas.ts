import { boolean, type Fields } from "../../config/fields.js";
import { InvalidArgumentError, LatentDiffusionError } from "../../errors.js";
import { Tensor } from "../../torch/tensor.js";
import { compute } from "./arithmetic.js";
import { betaQuantile } from "./beta-quantile.js";
import { linspace } from "./spacing.js";

/** The config keys that choose how the noise levels of a run are spread; at most one of them may be true. */
export interface SigmaKeys {
  /** Spread the noise levels as Karras et al. do; default false. @see https://arxiv.org/abs/2206.00364 equation 5 */
  use_karras_sigmas: boolean;
  /** Spread the noise levels evenly in their logarithm; default false. */
  use_exponential_sigmas: boolean;
  /** Spread the noise levels by quantiles of a beta distribution; default false. @see https://arxiv.org/abs/2407.12173 */
  use_beta_sigmas: boolean;
}

/** The fields of {@link SigmaKeys}. */
export const sigmaFields: Fields<SigmaKeys> = {
  use_karras_sigmas: boolean(false),
  use_exponential_sigmas: boolean(false),
  use_beta_sigmas: boolean(false),
};

/** A way to spread noise levels. */
export type SigmaSpread = "karras" | "exponential" | "beta" | "lu";

/**
 * Find the spread that a config asks for.
 * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` where it asks for several, as diffusers
 */
export function spreadOf(config: Partial<SigmaKeys & { use_lu_lambdas: boolean }>): SigmaSpread | undefined {
  const flags: readonly (readonly [SigmaSpread, boolean | undefined])[] = [
    ["karras", config.use_karras_sigmas],
    ["exponential", config.use_exponential_sigmas],
    ["beta", config.use_beta_sigmas],
    ["lu", config.use_lu_lambdas],
  ];
  const asked = flags.filter(([, flag]) => flag === true).map(([name]) => name);
  if (asked.length <= 1) return asked[0];
  throw new LatentDiffusionError(
    "ERR_CONFIG_UNSUPPORTED",
    `Expected one spread of the noise levels but received ${asked.join(" and ")} (use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas, use_lu_lambdas)`,
  );
}

/** sqrt((1 - alpha) / alpha) of each training timestep, by LibTorch's float32 operators. */
export function sigmaTable(alphasCumprod: Float32Array): Float32Array {
  const table = compute((torch) => {
    const alphas = torch.own(Tensor.from(alphasCumprod));
    return torch.pow(torch.div(torch.rsub(alphas, 1), alphas), 0.5);
  });
  try {
    return Float32Array.from(table.dataSync() as Float32Array);
  } finally {
    table.dispose();
  }
}

/** numpy.interp over the indices of a table: linear between entries, constant outside; in doubles. */
export function interpolate(at: readonly number[], table: Float32Array): number[] {
  const last = table.length - 1;
  return at.map((x) => {
    if (x <= 0) return table[0] ?? NaN;
    if (x >= last) return table[last] ?? NaN;
    const j = Math.floor(x);
    const low = table[j] ?? NaN;
    return x === j ? low : ((table[j + 1] ?? NaN) - low) * (x - j) + low;
  });
}

/** The limits that a config may set for a spread. */
interface SigmaLimits {
  readonly sigma_min?: number | null;
  readonly sigma_max?: number | null;
}

/**
 * Spread noise levels between the largest and the smallest one of a schedule, in doubles.
 * @param sigmas the schedule's own levels, falling
 * @param count how many to make
 * @see diffusers `_convert_to_karras`, `_convert_to_exponential`, `_convert_to_beta`, `_convert_to_lu`
 */
export function spreadSigmas(
  spread: SigmaSpread,
  sigmas: readonly number[],
  count: number,
  limits: SigmaLimits = {},
): number[] {
  const min = limits.sigma_min ?? sigmas.at(-1) ?? NaN;
  const max = limits.sigma_max ?? sigmas[0] ?? NaN;
  switch (spread) {
    case "karras":
      return powerRamp(max, min, 7, count);
    case "exponential":
      return linspace(Math.log(max), Math.log(min), count).map(Math.exp);
    case "beta":
      return linspace(0, 1, count).map((t) => min + betaQuantile(1 - t, 0.6, 0.6) * (max - min));
    case "lu":
      // Even steps in lambda = -log(sigma), the power of 1 of the paper.
      return powerRamp(Math.log(max), Math.log(min), 1, count).map(Math.exp);
  }
}

/** Even steps between the rho-th roots. @see https://arxiv.org/abs/2206.00364 equation 5 */
function powerRamp(from: number, to: number, rho: number, count: number): number[] {
  const [first, last] = [from ** (1 / rho), to ** (1 / rho)];
  return linspace(0, 1, count).map((ramp) => (first + ramp * (last - first)) ** rho);
}

/**
 * Find the fractional training timestep of a noise level, linearly between the logarithms of a table.
 * @param logSigmas rising
 * @see diffusers `_sigma_to_t`
 */
export function sigmaToTimestep(sigma: number, logSigmas: Float32Array): number {
  const logSigma = Math.log(Math.max(sigma, 1e-10));
  let below = 0;
  for (const [i, value] of logSigmas.entries()) if (value <= logSigma) below = i;
  const index = Math.min(below, logSigmas.length - 2);
  const low = logSigmas[index] ?? NaN;
  const high = logSigmas[index + 1] ?? NaN;
  const weight = Math.min(Math.max((low - logSigma) / (low - high), 0), 1);
  return (1 - weight) * index + weight * (index + 1);
}

/** Logarithms of a table, in float32. numpy's depend on the CPU, so what is made of them is not bit for bit. */
export function logTable(sigmas: Float32Array): Float32Array {
  return sigmas.map((sigma) => Math.log(sigma));
}

/** Check explicit noise levels: falling, above 0 but for the last. @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` */
export function checkSigmas(sigmas: readonly number[]): void {
  const at = sigmas.findIndex(
    (sigma, i) => !Number.isFinite(sigma) || sigma < 0 || (i > 0 && sigma >= (sigmas[i - 1] ?? NaN)),
  );
  if (at >= 0 || sigmas.length < 2)
    throw new InvalidArgumentError(
      `Expected at least 2 falling numbers of at least 0 for sigmas but received ${at >= 0 ? `${sigmas[at] ?? "none"} at index ${at}` : `${sigmas.length}`}`,
    );
}
