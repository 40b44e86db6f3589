import { LatentDiffusionError } from "../../errors.js";
import { Tensor } from "../../torch/tensor.js";
import { type Arithmetic, compute } from "./arithmetic.js";
import type { BetaSchedule } from "../ddim-config.js";

/** The config keys that say how much noise each training timestep holds. */
export interface NoiseSchedule {
  readonly num_train_timesteps: number;
  readonly beta_start: number;
  readonly beta_end: number;
  readonly beta_schedule: BetaSchedule;
  readonly trained_betas: readonly number[] | null;
  readonly rescale_betas_zero_snr: boolean;
}

/**
 * Tabulate how much of the clean sample is left at each training timestep: the cumulative product of 1 - beta.
 * @returns float32 values in [0, 1], falling; at least `num_train_timesteps` of them
 * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` if a beta is not in [0, 1], or too few are given
 */
export function tabulateAlphasCumprod(config: NoiseSchedule): Float32Array {
  const { num_train_timesteps: count, trained_betas: trained } = config;
  if (trained && trained.length < count) {
    throw new LatentDiffusionError(
      "ERR_CONFIG_UNSUPPORTED",
      `Expected at least ${count} values (num_train_timesteps) for trained_betas but received ${trained.length}`,
    );
  }
  const table = compute((torch) => {
    const betas = makeBetas(torch, config);
    checkBetas(betas.dataSync(), config);
    const final = config.rescale_betas_zero_snr ? rescaleToZeroTerminalSnr(torch, betas) : betas;
    return torch.op("cumprod", torch.rsub(final, 1), 0);
  });
  const values = Float32Array.from(table.dataSync() as Float32Array);
  table.dispose();
  if (!values.every(Number.isFinite)) {
    throw new LatentDiffusionError(
      "ERR_CONFIG_UNSUPPORTED",
      "rescale_betas_zero_snr cannot rescale these betas in float32: they are all 0, or nothing of the sample is left long before the last timestep",
    );
  }
  return values;
}

/** The betas of the schedule, float32 `[T]`. */
function makeBetas(torch: Arithmetic, config: NoiseSchedule): Tensor {
  const { num_train_timesteps: count, beta_start: start, beta_end: end } = config;
  if (config.trained_betas) return torch.own(Tensor.from(Float32Array.from(config.trained_betas)));
  switch (config.beta_schedule) {
    case "linear":
      return torch.op("linspace", start, end, count, "float32");
    case "scaled_linear":
      return torch.pow(torch.op("linspace", Math.sqrt(start), Math.sqrt(end), count, "float32"), 2);
    case "squaredcos_cap_v2":
      return torch.own(Tensor.from(cosineBetas(count)));
  }
}

/** Betas whose alpha bar follows a squared cosine; in doubles, rounded once. @see https://arxiv.org/abs/2102.09672 equation 17 */
function cosineBetas(count: number, maxBeta = 0.999): Float32Array {
  const alphaBar = (t: number): number => Math.cos((((t + 0.008) / 1.008) * Math.PI) / 2) ** 2;
  return Float32Array.from({ length: count }, (_, i) =>
    Math.min(1 - alphaBar((i + 1) / count) / alphaBar(i / count), maxBeta),
  );
}

/** Shift and scale the square roots of alpha bar, so that the last is 0 and the first stays. @see https://arxiv.org/abs/2305.08891 algorithm 1 */
function rescaleToZeroTerminalSnr(torch: Arithmetic, betas: Tensor): Tensor {
  const count = betas.shape[0] ?? 0;
  const sqrtBars = torch.op("sqrt", torch.op("cumprod", torch.rsub(betas, 1), 0));
  const first = torch.op("select.int", sqrtBars, 0, 0);
  const last = torch.op("select.int", sqrtBars, 0, count - 1);
  const shifted = torch.sub(sqrtBars, last);
  const scaled = torch.mul(shifted, torch.div(first, torch.sub(first, last)));
  const bars = torch.pow(scaled, 2);
  const head = torch.op("slice.Tensor", bars, 0, 0, 1);
  const ratios = torch.div(
    torch.op("slice.Tensor", bars, 0, 1, count),
    torch.op("slice.Tensor", bars, 0, 0, count - 1),
  );
  return torch.rsub(torch.op("cat", [head, ratios], 0), 1);
}

function checkBetas(betas: ArrayLike<number | bigint>, config: NoiseSchedule): void {
  for (let t = 0; t < betas.length; t++) {
    const beta = Number(betas[t]);
    if (beta >= 0 && beta <= 1) continue;
    const source = config.trained_betas
      ? "trained_betas"
      : `beta_start ${config.beta_start}, beta_end ${config.beta_end} and beta_schedule "${config.beta_schedule}"`;
    throw new LatentDiffusionError(
      "ERR_CONFIG_UNSUPPORTED",
      `Expected betas from 0 to 1 but ${source} give ${beta} at timestep ${t}`,
    );
  }
}
