import type { Config, ConfigClass } from "../config/config.js";
import { boolean, type Field, float, oneOf } from "../config/fields.js";
import { LatentDiffusionError } from "../errors.js";
import type { Tensor } from "../torch/tensor.js";
import { checkOptions, unexpected } from "../validate.js";
import {
  type GivenConfig,
  type Schedule,
  SchedulerBase,
  type ScheduleRequest,
  type StepInput,
  type TakenStep,
} from "./base.js";
import type { SetTimestepsOptions, StepOptions } from "./contract.js";
import { checkStepGenerator, unsolvable } from "./shared/checks.js";
import { type Arithmetic, compute } from "./shared/arithmetic.js";
import {
  type BetaSchedule,
  type NoiseTables,
  predictionField,
  type PredictionType,
  tabulateNoise,
  trainingFields,
  type TrainingKeys,
} from "./shared/betas.js";
import { drawLike } from "./shared/noise.js";
import { checkedSpacing, spacingFields, type SpacingKeys } from "./shared/spacing.js";
import { limitOriginal, predictOriginal } from "./shared/clean-sample.js";

/** How much fresh noise a step adds. `"fixed_small"` is the posterior's variance, `"fixed_large"` is beta_t. */
export type VarianceType = "fixed_small" | "fixed_small_log" | "fixed_large";

/** The keys of a `DDPMScheduler`'s `scheduler_config.json`. `timestep_spacing` is `"leading"` by default. */
export interface DDPMConfigKeys extends TrainingKeys<BetaSchedule | "sigmoid" | "laplace">, SpacingKeys {
  /** Default `"fixed_small"`. */
  variance_type: VarianceType;
  /** Clip the predicted clean sample to ±`clip_sample_range`; default true. */
  clip_sample: boolean;
  /** Default `"epsilon"`. */
  prediction_type: PredictionType;
  /** Threshold the predicted clean sample dynamically, for models of pixels; default false. @see https://arxiv.org/abs/2205.11487 */
  thresholding: boolean;
  /** The quantile of dynamic thresholding, in [0, 1]; default 0.995. */
  dynamic_thresholding_ratio: number;
  /** Above 0; default 1. */
  clip_sample_range: number;
  /** The largest threshold; default 1. */
  sample_max_value: number;
  /** Rescale the betas so that the last timestep is pure noise; default false. @see https://arxiv.org/abs/2305.08891 algorithm 1 */
  rescale_betas_zero_snr: boolean;
}

export type DDPMConfig = Config<DDPMConfigKeys>;

/** Variance types of diffusers that this package does not run, and why. */
const REFUSED_VARIANCES: ReadonlyMap<unknown, string> = new Map([
  ["fixed_large_log", "diffusers takes the square root of a negative logarithm, and every step is NaN"],
  ["learned", "the network of this pipeline predicts no variance"],
  ["learned_range", "the network of this pipeline predicts no variance"],
]);

const knownVariance = oneOf<VarianceType>("fixed_small", ["fixed_small", "fixed_small_log", "fixed_large"]);

const varianceField: Field<VarianceType> = {
  ...knownVariance,
  check: (value, key) => {
    const reason = REFUSED_VARIANCES.get(value);
    if (reason === undefined) return knownVariance.check(value, key);
    throw new LatentDiffusionError(
      "ERR_CONFIG_UNSUPPORTED",
      `Expected one of "fixed_small", "fixed_small_log", "fixed_large" for ${key} but received "${String(value)}": ${reason}`,
    );
  },
};

/** The class's name, keys and defaults. */
export const DDPM_CLASS: ConfigClass<DDPMConfigKeys> = {
  className: "DDPMScheduler",
  fields: {
    ...trainingFields<BetaSchedule | "sigmoid" | "laplace">({}, ["sigmoid", "laplace"]),
    variance_type: varianceField,
    clip_sample: boolean(true),
    prediction_type: predictionField,
    thresholding: boolean(false),
    dynamic_thresholding_ratio: float(0.995, { min: 0, max: 1 }),
    clip_sample_range: float(1, { above: 0 }),
    sample_max_value: float(1, { above: 0 }),
    ...spacingFields("leading"),
    rescale_betas_zero_snr: boolean(false),
  },
};

/** The numbers of one step, each a float32 tensor without dimensions. */
interface Coefficients {
  /** sqrt(alpha_bar_t). */
  readonly sqrtAlpha: Tensor;
  /** sqrt(1 - alpha_bar_t). */
  readonly sqrtBeta: Tensor;
  /** What formula (7) multiplies x_0 by. */
  readonly originalScale: Tensor;
  /** What formula (7) multiplies x_t by. */
  readonly sampleScale: Tensor;
  /** sigma_t. */
  readonly stdDev: Tensor;
}

/** The least variance, as in diffusers, which takes its logarithm. */
const MIN_VARIANCE = 1e-20;

/**
 * Denoise by ancestral sampling, as in the paper that diffusion models of today come from: each step but the last draws fresh noise.
 * Any timestep of the schedule may be stepped at, in any order.
 *
 * | variable | paper |
 * |---|---|
 * | `predOriginalSample` | x_0, formula (15) |
 * | `originalScale`, `sampleScale` | factors of mu_t, formula (7) |
 * | `stdDev` | sigma_t |
 *
 * @see https://arxiv.org/abs/2006.11239, diffusers.DDPMScheduler
 */
export class DDPMScheduler extends SchedulerBase<DDPMConfigKeys, StepOptions> {
  static readonly kind = DDPM_CLASS;

  /**
   * Make a scheduler of a config's keys; those left out have diffusers' defaults.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for an unknown key; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a value
   */
  constructor(config: GivenConfig<DDPMConfigKeys> = {}) {
    super(DDPM_CLASS, config);
  }

  /** @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming the timestep, where diffusers goes on with NaN or infinity */
  override checkSteps(options?: StepOptions): void {
    checkOptions(options, ["eta", "generator"], "DDPMScheduler.checkSteps");
    for (const timestep of this.timesteps) compute((torch) => this.#coefficients(torch, timestep).stdDev).dispose();
  }

  protected override get followsSchedule(): boolean {
    return false;
  }

  protected override get accepts(): readonly (keyof SetTimestepsOptions)[] {
    return ["timesteps"];
  }

  protected override makeTables(): NoiseTables {
    return tabulateNoise(this.config, this.config.rescale_betas_zero_snr);
  }

  protected override schedule({ count, timesteps }: ScheduleRequest): Schedule {
    if (!timesteps) return { timesteps: checkedSpacing(this.config, count) };
    const { num_train_timesteps: total } = this.config;
    const at = timesteps.findIndex((t) => !Number.isInteger(t) || t >= total);
    if (at >= 0) throw unexpected(`an integer from 0 to ${total - 1}`, `timesteps[${at}]`, timesteps[at]);
    return { timesteps: [...timesteps] };
  }

  protected override takeStep(
    torch: Arithmetic,
    { timestep, modelOutput, sample }: StepInput,
    options: StepOptions | undefined,
  ): TakenStep {
    const { generator } = checkOptions(options, ["eta", "generator"], "DDPMScheduler.step");
    checkStepGenerator(generator, modelOutput);
    const coefficients = this.#coefficients(torch, timestep);

    // 1. x_0 of formula (15), clipped or thresholded
    const predOriginalSample = limitOriginal(
      torch,
      this.config,
      predictOriginal(torch, this.config.prediction_type, coefficients, { modelOutput, sample }),
    );

    // 2. mu_t of formula (7)
    const mean = torch.add(
      torch.mul(coefficients.originalScale, predOriginalSample),
      torch.mul(coefficients.sampleScale, sample),
    );

    // 3. Fresh noise, but at timestep 0. Python adds the number 0 there, which makes 0 of -0
    if (timestep === 0) return { prevSample: torch.add(mean, 0), predOriginalSample };
    const noise = torch.own(drawLike(modelOutput, generator));
    return { prevSample: torch.add(mean, torch.mul(coefficients.stdDev, noise)), predOriginalSample };
  }

  /** Compute a step's coefficients, by `pow` as diffusers does, and refuse a step that PyTorch makes NaN of. */
  #coefficients(torch: Arithmetic, timestep: number): Coefficients {
    const index = this.timesteps.indexOf(timestep);
    if (index < 0) throw unexpected("one of scheduler.timesteps", "timestep", timestep);
    const table = this.tables.alphasCumprod;
    const previous = this.timesteps[index + 1];
    const alpha = torch.scalar(table[timestep] ?? NaN);
    const alphaPrev = torch.scalar(previous === undefined ? 1 : (table[previous] ?? NaN));
    const beta = torch.rsub(alpha, 1);
    const betaPrev = torch.rsub(alphaPrev, 1);
    const currentAlpha = torch.div(alpha, alphaPrev);
    const currentBeta = torch.rsub(currentAlpha, 1);
    const small = torch.op("clamp", torch.mul(torch.div(betaPrev, beta), currentBeta), MIN_VARIANCE);
    const coefficients = {
      sqrtAlpha: torch.pow(alpha, 0.5),
      sqrtBeta: torch.pow(beta, 0.5),
      originalScale: torch.div(torch.mul(torch.pow(alphaPrev, 0.5), currentBeta), beta),
      sampleScale: torch.div(torch.mul(torch.pow(currentAlpha, 0.5), betaPrev), beta),
      stdDev: this.#stdDev(torch, small, currentBeta),
    };
    this.#checkFinite(coefficients, timestep);
    return coefficients;
  }

  #stdDev(torch: Arithmetic, small: Tensor, large: Tensor): Tensor {
    switch (this.config.variance_type) {
      case "fixed_small":
        return torch.pow(small, 0.5);
      case "fixed_small_log":
        return torch.op("exp", torch.mul(torch.op("log", small), 0.5));
      case "fixed_large":
        return torch.pow(large, 0.5);
    }
  }

  #checkFinite(coefficients: Coefficients, timestep: number): void {
    const where = `timestep ${timestep}`;
    const values = Object.values(coefficients).map((value: Tensor) => Number(value.dataSync()[0]));
    if (!values.every(Number.isFinite))
      throw unsolvable("DDPM", where, "with the betas of this config its coefficients are not finite in float32");
    // Clipping brings infinities back; a quantile of infinities is none.
    const { prediction_type: type, thresholding, clip_sample: clips } = this.config;
    if (values[0] === 0 && type === "epsilon" && (thresholding || !clips))
      throw unsolvable(
        "DDPM",
        where,
        "nothing of the sample is left there (zero terminal SNR), and noise alone does not say what it was; " +
          'take prediction_type "v_prediction" or "sample", or a timestep_spacing that leaves it out',
      );
  }
}
