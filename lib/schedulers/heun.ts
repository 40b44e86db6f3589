import type { ConfigClass } from "../config/config.js";
import { boolean, float } from "../config/fields.js";
import type { Tensor } from "../torch/tensor.js";
import { checkOptions } from "../validate.js";
import { type GivenConfig, type Schedule, type ScheduleRequest, type StepInput, type TakenStep } from "./base.js";
import type { SetTimestepsOptions, StepOptions } from "./contract.js";
import { keep } from "./shared/checks.js";
import type { Arithmetic } from "./shared/arithmetic.js";
import {
  type BetaSchedule,
  predictionField,
  type PredictionType,
  trainingFields,
  type TrainingKeys,
} from "./shared/betas.js";
import { SigmaScheduler, withLast } from "./shared/sigma-scheduler.js";
import { sigmaFields, type SigmaKeys, spreadOf } from "./shared/sigmas.js";
import { spacingFields, type SpacingKeys } from "./shared/spacing.js";

/**
 * The keys of a `HeunDiscreteScheduler`'s `scheduler_config.json`. By default `beta_start` is 0.00085, `beta_end` 0.012 and
 * `timestep_spacing` `"linspace"`.
 */
export interface HeunConfigKeys extends TrainingKeys<BetaSchedule | "exp">, SpacingKeys, SigmaKeys {
  /** Default `"epsilon"`. */
  prediction_type: PredictionType;
  /** Clip the predicted clean sample to ±`clip_sample_range`; default false. */
  clip_sample: boolean;
  /** Above 0; default 1. */
  clip_sample_range: number;
}

/** The class's name, keys and defaults. */
export const HEUN_CLASS: ConfigClass<HeunConfigKeys> = {
  className: "HeunDiscreteScheduler",
  fields: {
    ...trainingFields<BetaSchedule | "exp">({ start: 0.00085, end: 0.012 }, ["exp"]),
    prediction_type: predictionField,
    ...sigmaFields,
    clip_sample: boolean(false),
    clip_sample_range: float(1, { above: 0 }),
    ...spacingFields("linspace"),
  },
};

/** What the first half of a step leaves for the second. */
interface HalfStep {
  readonly derivative: Tensor;
  readonly sample: Tensor;
}

/**
 * Denoise by Heun's method, of order 2, along the probability flow ODE of Karras et al. N steps evaluate the network 2N - 1 times, so
 * that `timesteps` has each but the first one twice.
 *
 * | variable | paper |
 * |---|---|
 * | `sigma`, `sigmaNext` | t_i and t_(i+1) |
 * | `predOriginalSample` | D_theta(x; t) |
 * | `derivative` | d_i in the first half, (d_i + d'_i) / 2 in the second |
 *
 * @see https://arxiv.org/abs/2206.00364 algorithm 1, diffusers.HeunDiscreteScheduler
 */
export class HeunDiscreteScheduler extends SigmaScheduler<HeunConfigKeys, StepOptions> {
  static readonly kind = HEUN_CLASS;
  override readonly order = 2;
  #half: HalfStep | undefined;

  /**
   * Make a scheduler of a config's keys; those left out have diffusers' defaults.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for an unknown key; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a value
   */
  constructor(config: GivenConfig<HeunConfigKeys> = {}) {
    super(HEUN_CLASS, config);
    spreadOf(this.config);
  }

  /** @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for what cannot be stepped with */
  override checkSteps(options?: StepOptions): void {
    checkOptions(options, ["eta", "generator"], "HeunDiscreteScheduler.checkSteps");
    this.checkLevels();
  }

  protected override get accepts(): readonly (keyof SetTimestepsOptions)[] {
    return ["timesteps"];
  }

  protected override initialSchedule(): Schedule {
    return this.schedule({ count: this.config.num_train_timesteps });
  }

  protected override schedule({ count, timesteps: given }: ScheduleRequest): Schedule {
    const spread = spreadOf(this.config);
    if (given) this.refuseTimesteps(spread);
    const { timesteps, sigmas } = this.levelsOf(given?.map(Math.fround) ?? this.space(count), spread, count);
    const twice = <T>(list: readonly T[]): T[] => list.flatMap((value, i) => (i === 0 ? [value] : [value, value]));
    return { timesteps: twice(timesteps), sigmas: withLast(twice(sigmas), 0) };
  }

  protected override takeStep(
    torch: Arithmetic,
    { index, modelOutput, sample }: StepInput,
    options: StepOptions | undefined,
  ): TakenStep {
    checkOptions(options, ["eta", "generator"], "HeunDiscreteScheduler.step");
    const half = this.#half;
    const first = half === undefined ? index : index - 1;
    const sigma = torch.scalar(this.levelAt(first));
    const sigmaNext = torch.scalar(this.levelAt(first + 1));
    const here = half === undefined ? sigma : sigmaNext;

    // 1. D_theta(x; t)
    const predicted = this.predictOriginal(torch, modelOutput, sample, here);
    const { clip_sample: clips, clip_sample_range: range } = this.config;
    const predOriginalSample = clips ? torch.op("clamp", predicted, -range, range) : predicted;

    // 2. d_i, or d'_i and the mean of both
    const derivative = torch.div(torch.sub(sample, predOriginalSample), here);
    const dt = torch.sub(sigmaNext, sigma);
    if (half === undefined) {
      const prevSample = torch.add(sample, torch.mul(derivative, dt));
      this.#half = { derivative: keep(derivative), sample: keep(sample) };
      return { prevSample, predOriginalSample };
    }
    const mean = torch.div(torch.add(half.derivative, derivative), 2);
    const prevSample = torch.add(half.sample, torch.mul(mean, dt));
    this.forget();
    return { prevSample, predOriginalSample };
  }

  protected override forget(): void {
    this.#half?.derivative.dispose();
    this.#half?.sample.dispose();
    this.#half = undefined;
  }

  protected override adopt(other: this): void {
    if (other.#half) this.#half = { derivative: keep(other.#half.derivative), sample: keep(other.#half.sample) };
  }
}
