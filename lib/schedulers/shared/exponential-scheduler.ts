import { boolean, type Field, type Fields, float, oneOf, only, unsupported } from "../../config/fields.js";
import { LatentDiffusionError } from "../../errors.js";
import { Tensor } from "../../torch/tensor.js";
import { checkNumber, unexpected } from "../../validate.js";
import type { GivenConfig, Schedule, ScheduleRequest } from "../base.js";
import type { ConfigClass } from "../../config/config.js";
import type { StepOptions } from "../contract.js";
import { type Arithmetic, compute } from "./arithmetic.js";
import { predictionField, type PredictionType, trainingFields, type TrainingKeys } from "./betas.js";
import { keep, unsolvable } from "./checks.js";
import type { DPMLevel } from "./dpm-updates.js";
import { limitsOf, SigmaScheduler, withLast } from "./sigma-scheduler.js";
import { interpolate, logTable, sigmaFields, type SigmaKeys, type SigmaSpread } from "./sigmas.js";
import { sigmaToTimestep, spreadOf, spreadSigmas } from "./sigmas.js";
import { roundHalfToEven, spaceIntervals, spacingFields, type SpacingKeys } from "./spacing.js";
import { thresholdSample } from "./thresholding.js";

/** The config keys that every exponential integrator knows. */
export interface IntegratorKeys extends TrainingKeys, SigmaKeys {
  /** Default `"epsilon"`. */
  prediction_type: PredictionType;
  /** Threshold the predicted clean sample dynamically; default false. @see https://arxiv.org/abs/2205.11487 section 2.3 */
  thresholding: boolean;
  /** The quantile of the magnitudes that is the threshold, in [0, 1]; default 0.995. */
  dynamic_thresholding_ratio: number;
  /** The largest threshold, at least 1; default 1. */
  sample_max_value: number;
  /** Only false: the networks of this pipeline are not trained by flow matching. */
  use_flow_sigmas: boolean;
  /** Only 1, its default. */
  flow_shift: number;
}

/** The keys of those that choose their timesteps by a spacing, `"linspace"` by default. */
export interface ExponentialKeys extends IntegratorKeys, SpacingKeys {}

/** The fields of {@link IntegratorKeys}. */
export const integratorFields: Fields<IntegratorKeys> = {
  ...trainingFields(),
  prediction_type: predictionField,
  thresholding: boolean(false),
  dynamic_thresholding_ratio: float(0.995, { min: 0, max: 1 }),
  sample_max_value: float(1, { min: 1 }),
  ...sigmaFields,
  use_flow_sigmas: only(false),
  flow_shift: { ...oneOf<number>(1, [1]), isFloat: true },
};

/** The fields of {@link ExponentialKeys}. */
export const exponentialFields: Fields<ExponentialKeys> = { ...integratorFields, ...spacingFields("linspace") };

/** The keys that shift noise levels for networks of flow matching, which are refused. */
export interface ShiftingKeys {
  /** Only false, as `use_flow_sigmas`. */
  use_dynamic_shifting: boolean;
  /** Unused without shifting. */
  time_shift_type: "exponential" | "linear";
}

/** The fields of {@link ShiftingKeys}. */
export const shiftingFields: Fields<ShiftingKeys> = {
  use_dynamic_shifting: only(false),
  time_shift_type: oneOf("exponential", ["exponential", "linear"]),
};

/** The field of `lambda_min_clipped`: a number or -Infinity. */
export function lambdaField(): Field<number> {
  const finite = float(0);
  return {
    fallback: -Infinity,
    isFloat: true,
    check: (value, key) => (value === -Infinity ? value : finite.check(value, key)),
  };
}

/** The field of `variance_type`: DDPM's names say nothing here, but `"learned"` and `"learned_range"` are of other networks. */
export const varianceTypeField: Field<string | null> = {
  fallback: null,
  isFloat: false,
  check: (value, key) => {
    if (value === null || (typeof value === "string" && !value.startsWith("learned"))) return value;
    throw unsupported(key, "null, or a variance that the network does not predict,", value);
  },
};

/** What a step makes of the network's output: what the solver follows, and the clean sample that goes with it. */
export interface SolverModel {
  readonly model: Tensor;
  readonly predOriginalSample: Tensor;
}

/**
 * A scheduler that integrates the exponential of the probability flow exactly, and its model by a polynomial through earlier values. The
 * network takes samples of variance 1: x = alpha * x_0 + sigma * noise, and the steps are counted in lambda = log(alpha / sigma).
 * @see https://arxiv.org/abs/2206.00927
 */
export abstract class ExponentialScheduler<
  Keys extends IntegratorKeys,
  Options extends StepOptions = StepOptions,
> extends SigmaScheduler<Keys, Options> {
  /** The models of the last steps, the newest first. */
  protected history: readonly Tensor[] = [];

  protected constructor(kind: ConfigClass<Keys>, config: GivenConfig<Keys>) {
    super(kind, config);
    spreadOf(this.config);
  }

  /** 1: every schedule begins at variance 1. */
  override get initNoiseSigma(): number {
    return 1;
  }

  /** Return the sample as it is. */
  override scaleModelInput(sample: Tensor, timestep?: number): Tensor {
    if (!(sample instanceof Tensor)) throw unexpected("a Tensor", "sample", sample);
    if (timestep !== undefined) checkNumber(timestep, "timestep");
    return sample;
  }

  /**
   * The noise level where the run ends.
   * @param levels those before, if they were spread anew
   */
  protected abstract lastLevel(levels?: readonly number[]): number;

  /** Whether timesteps of a spread are rounded; otherwise they are truncated. */
  protected roundsTimesteps(spread: SigmaSpread): boolean {
    return spread === "karras";
  }

  /** The lowest log(alpha / sigma) of a run. */
  protected get leastLambda(): number {
    return -Infinity;
  }

  protected override schedule({ count, timesteps: given }: ScheduleRequest): Schedule {
    const spread = spreadOf(this.config);
    if (given) this.refuseTimesteps(spread);
    if (spread !== undefined) return this.#spread(spread, count);
    const timesteps = given?.map(Math.trunc) ?? this.space(count);
    return { timesteps, sigmas: withLast(interpolate(timesteps, this.table), this.lastLevel()) };
  }

  /** How the timesteps are chosen. */
  protected get spacing(): SpacingKeys {
    const { timestep_spacing = "linspace", steps_offset = 0 } = this.config as Partial<SpacingKeys>;
    return { timestep_spacing, steps_offset };
  }

  protected override space(count: number): number[] {
    const { num_train_timesteps: total } = this.config;
    const { timestep_spacing: spacing, steps_offset: offset } = this.spacing;
    const timesteps = spaceIntervals(spacing, total, count, offset, this.#lastTimestep());
    const outside = timesteps.find((t) => t < 0 || t >= total);
    if (outside === undefined && timesteps.length > 0) return timesteps;
    throw new LatentDiffusionError(
      "ERR_CONFIG_UNSUPPORTED",
      `timestep_spacing "${spacing}" with steps_offset ${offset} and ${count} steps visits timestep ${outside ?? "none"}, outside 0 to ${total - 1}; take another number of steps`,
    );
  }

  /** How many training timesteps have a log(alpha / sigma) of at least {@link leastLambda}. */
  #lastTimestep(): number {
    const { num_train_timesteps: total } = this.config;
    const least = this.leastLambda;
    if (least === -Infinity) return total;
    const lambdas = compute((torch) => {
      const alphas = torch.own(Tensor.from(this.tables.alphasCumprod));
      const sigmas = torch.op("sqrt", torch.rsub(alphas, 1));
      return torch.sub(torch.op("log", torch.op("sqrt", alphas)), torch.op("log", sigmas));
    });
    const below = (lambdas.dataSync() as Float32Array).filter((lambda) => lambda < Math.fround(least)).length;
    lambdas.dispose();
    return total - below;
  }

  /** Spread the levels over the whole table; the timesteps are whole numbers, as diffusers makes them. */
  #spread(spread: SigmaSpread, count: number): Schedule {
    const limits = spread === "lu" ? {} : limitsOf(this.config);
    const levels = spreadSigmas(spread, [...this.table].reverse(), count, limits);
    const logs = logTable(this.table);
    const whole = this.roundsTimesteps(spread) ? roundHalfToEven : Math.trunc;
    const timesteps = levels.map((level) => whole(sigmaToTimestep(level, logs)));
    return { timesteps, sigmas: withLast(levels, this.lastLevel(levels)) };
  }

  /**
   * Refuse schedules whose first timestep is there twice: diffusers begins at the second one, and its run is a step too short.
   * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED`
   */
  protected checkFirstTimestep(): void {
    const { timesteps } = this;
    if (this.beginIndex === undefined && timesteps.length > 1 && timesteps[0] === timesteps[1])
      throw this.cannotStep(0, "the first two timesteps round to the same number; take fewer steps");
  }

  /** The error for a step that would make NaN or infinity. */
  protected cannotStep(index: number, why: string): LatentDiffusionError {
    return unsolvable(this.className, `step ${index}, timestep ${this.timesteps[index]}`, why);
  }

  /** x_theta, which is the predicted clean sample itself. */
  protected cleanModel(torch: Arithmetic, output: Tensor, sample: Tensor, { alpha, sigma }: DPMLevel): SolverModel {
    const predict = (): Tensor => {
      switch (this.config.prediction_type) {
        case "epsilon":
          return torch.div(torch.sub(sample, torch.mul(sigma, output)), alpha);
        case "sample":
          return output;
        case "v_prediction":
          return torch.sub(torch.mul(alpha, sample), torch.mul(sigma, output));
      }
    };
    const predicted = predict();
    const model = this.config.thresholding ? this.threshold(torch, predicted) : predicted;
    return { model, predOriginalSample: model };
  }

  /** epsilon_theta, and the clean sample that goes with it; neither is thresholded. */
  protected noiseModel(torch: Arithmetic, output: Tensor, sample: Tensor, level: DPMLevel): SolverModel {
    const { alpha, sigma } = level;
    const predict = (): Tensor => {
      switch (this.config.prediction_type) {
        case "epsilon":
          return output;
        case "sample":
          return this.noiseOf(torch, output, sample, level);
        case "v_prediction":
          return torch.add(torch.mul(alpha, output), torch.mul(sigma, sample));
      }
    };
    const model = predict();
    return { model, predOriginalSample: torch.div(torch.sub(sample, torch.mul(sigma, model)), alpha) };
  }

  /** The noise between a sample and a clean sample. */
  protected noiseOf(torch: Arithmetic, clean: Tensor, sample: Tensor, { alpha, sigma }: DPMLevel): Tensor {
    return torch.div(torch.sub(sample, torch.mul(alpha, clean)), sigma);
  }

  /** Threshold a predicted clean sample as the config says. */
  protected threshold(torch: Arithmetic, clean: Tensor): Tensor {
    return thresholdSample(torch, clean, this.config.dynamic_thresholding_ratio, this.config.sample_max_value);
  }

  protected override mixNoise(torch: Arithmetic, original: Tensor, noise: Tensor, level: Tensor): Tensor {
    const alpha = torch.op("reciprocal", torch.pow(torch.add(torch.pow(level, 2), 1), 0.5));
    return torch.add(torch.mul(alpha, original), torch.mul(torch.mul(level, alpha), noise));
  }

  /** Keep a step's model for later steps. @param most how many are kept */
  protected remember(model: Tensor, most: number): void {
    const all = [keep(model), ...this.history];
    for (const old of all.slice(most)) old.dispose();
    this.history = all.slice(0, most);
  }

  protected override forget(): void {
    for (const model of this.history) model.dispose();
    this.history = [];
  }

  protected override adopt(other: this): void {
    this.history = other.history.map(keep);
  }
}
