import {
  type Field,
  type Fields,
  float,
  integer,
  listOf,
  MAX_TRAIN_TIMESTEPS,
  nullable,
  oneOf,
} from "../../config/fields.js";
import { Tensor } from "../../torch/tensor.js";
import { type Arithmetic, compute } from "./arithmetic.js";

/** The schedules of betas that most schedulers know. */
export type BetaSchedule = "linear" | "scaled_linear" | "squaredcos_cap_v2";

/** All schedules of betas. */
export type AnyBetaSchedule = BetaSchedule | "sigmoid" | "laplace" | "exp";

/** What the network was trained to predict: the noise, the clean sample, or the velocity between the two. */
export type PredictionType = "epsilon" | "sample" | "v_prediction";

/** The config keys that say how much noise each training timestep holds. */
export interface TrainingKeys<Schedule extends AnyBetaSchedule = BetaSchedule> {
  /** Timesteps that the network was trained on; default 1000. */
  num_train_timesteps: number;
  /** The first beta; default 0.0001. */
  beta_start: number;
  /** The last beta; default 0.02. */
  beta_end: number;
  /** How the betas grow; default `"linear"`. */
  beta_schedule: Schedule;
  /** The betas themselves, instead of a schedule; default null. */
  trained_betas: readonly number[] | null;
}

/** The fields of {@link TrainingKeys}. */
export function trainingFields<Schedule extends AnyBetaSchedule = BetaSchedule>(
  {
    start = 0.0001,
    end = 0.02,
    schedule = "linear",
  }: { readonly start?: number; readonly end?: number; readonly schedule?: BetaSchedule } = {},
  more: readonly Exclude<Schedule, BetaSchedule>[] = [],
): Fields<TrainingKeys<Schedule>> {
  const known = ["linear", "scaled_linear", "squaredcos_cap_v2", ...more];
  return {
    num_train_timesteps: integer(1000, { max: MAX_TRAIN_TIMESTEPS }),
    beta_start: float(start),
    beta_end: float(end),
    beta_schedule: oneOf<string>(schedule, known) as Field<Schedule>,
    trained_betas: nullable(listOf([], float(0), MAX_TRAIN_TIMESTEPS)),
  };
}

/** The field of `prediction_type`. */
export const predictionField: Field<PredictionType> = oneOf("epsilon", ["epsilon", "sample", "v_prediction"]);

/** What a scheduler knows of each training timestep. */
export interface NoiseTables {
  /** float32 `[T]` */
  readonly betas: Float32Array;
  /** The share of the clean sample's variance that is left: the cumulative product of 1 - beta. */
  readonly alphasCumprod: Float32Array;
}

/**
 * Tabulate betas and the cumulative product of 1 - beta. As in diffusers, betas may be anything here: whoever steps checks the entries
 * that the step uses.
 * @param rescale whether the last timestep becomes pure noise
 */
export function tabulateNoise(config: TrainingKeys<AnyBetaSchedule>, rescale = false): NoiseTables {
  const tables = compute((torch) => {
    const plain = makeBetas(torch, config);
    const betas = rescale ? rescaleToZeroTerminalSnr(torch, plain) : plain;
    return { betas, alphasCumprod: torch.op("cumprod", torch.rsub(betas, 1), 0) };
  });
  try {
    const copy = (table: Tensor): Float32Array => Float32Array.from(table.dataSync() as Float32Array);
    return { betas: copy(tables.betas), alphasCumprod: copy(tables.alphasCumprod) };
  } finally {
    tables.betas.dispose();
    tables.alphasCumprod.dispose();
  }
}

/**
 * As {@link tabulateNoise}, for schedulers that divide by what is left of the sample: a last timestep of pure noise would have an infinite
 * noise level, so that a little of the sample is left there, as in diffusers.
 */
export function tabulateFiniteNoise(
  config: TrainingKeys<AnyBetaSchedule> & { readonly rescale_betas_zero_snr: boolean },
): NoiseTables {
  const tables = tabulateNoise(config, config.rescale_betas_zero_snr);
  if (config.rescale_betas_zero_snr) tables.alphasCumprod[tables.alphasCumprod.length - 1] = 2 ** -24;
  return tables;
}

/** The betas of the schedule, float32 `[T]`. */
function makeBetas(torch: Arithmetic, config: TrainingKeys<AnyBetaSchedule>): Tensor {
  const { num_train_timesteps: count, beta_start: start, beta_end: end } = config;
  if (config.trained_betas) return torch.own(Tensor.from(Float32Array.from(config.trained_betas)));
  switch (config.beta_schedule) {
    case "linear":
      return torch.op("linspace", start, end, count, "float32");
    case "scaled_linear":
      return torch.pow(torch.op("linspace", Math.sqrt(start), Math.sqrt(end), count, "float32"), 2);
    case "sigmoid": {
      const curve = torch.op("sigmoid", torch.op("linspace", -6, 6, count, "float32"));
      return torch.add(torch.mul(curve, end - start), start);
    }
    case "squaredcos_cap_v2":
      return torch.own(Tensor.from(betasOf(count, cosine)));
    case "laplace":
      return torch.own(Tensor.from(betasOf(count, laplace)));
    case "exp":
      return torch.own(Tensor.from(betasOf(count, (t) => Math.exp(t * -12))));
  }
}

/** Alpha bar as a squared cosine. @see https://arxiv.org/abs/2102.09672 equation 17 */
function cosine(t: number): number {
  return Math.cos((((t + 0.008) / 1.008) * Math.PI) / 2) ** 2;
}

/** Alpha bar whose log-SNR has Laplace's distribution. @see https://arxiv.org/abs/2407.03297 */
function laplace(t: number): number {
  const sign = 0.5 - t < 0 ? -1 : 1;
  const snr = Math.exp(-0.5 * sign * Math.log(1 - 2 * Math.abs(0.5 - t) + 1e-6));
  return Math.sqrt(snr / (1 + snr));
}

/** Betas that follow an alpha bar; in doubles, rounded once. @see diffusers betas_for_alpha_bar */
function betasOf(count: number, alphaBar: (t: number) => number, maxBeta = 0.999): Float32Array {
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
