import type { Config, ConfigClass } from "../config/config.js";
import { boolean, float } from "../config/fields.js";
import { InvalidArgumentError } from "../errors.js";
import type { Tensor } from "../torch/tensor.js";
import { checkBoolean, checkNumber, checkOptions } from "../validate.js";
import {
  type GivenConfig,
  type Schedule,
  SchedulerBase,
  type ScheduleRequest,
  type StepInput,
  type TakenStep,
} from "./base.js";
import type { SchedulerOutput, StepOptions } from "./contract.js";
import { checkSameShape, checkStepGenerator, unsolvable } from "./shared/checks.js";
import { type Arithmetic, compute } from "./shared/arithmetic.js";
import {
  type NoiseTables,
  predictionField,
  type PredictionType,
  tabulateNoise,
  trainingFields,
  type TrainingKeys,
} from "./shared/betas.js";
import { drawLike } from "./shared/noise.js";
import { checkedSpacing, spacingFields, type SpacingKeys } from "./shared/spacing.js";
import { thresholdSample } from "./shared/thresholding.js";

/** The keys of a `DDIMScheduler`'s `scheduler_config.json`. `timestep_spacing` is `"leading"` by default. */
export interface DDIMConfigKeys extends TrainingKeys, SpacingKeys {
  /** Clip the predicted clean sample to ±`clip_sample_range`; default true. */
  clip_sample: boolean;
  /** Above 0; default 1. */
  clip_sample_range: number;
  /** Let the last step end at alpha 1 rather than at that of timestep 0; default true. */
  set_alpha_to_one: boolean;
  /** Default `"epsilon"`. */
  prediction_type: PredictionType;
  /** Threshold the predicted clean sample dynamically, for models of pixels; default false. @see https://arxiv.org/abs/2205.11487 */
  thresholding: boolean;
  /** The quantile of dynamic thresholding, in [0, 1]; default 0.995. */
  dynamic_thresholding_ratio: number;
  /** The largest threshold; default 1. */
  sample_max_value: number;
  /** Rescale the betas so that the last timestep is pure noise; default false. @see https://arxiv.org/abs/2305.08891 algorithm 1 */
  rescale_betas_zero_snr: boolean;
}

export type DDIMConfig = Config<DDIMConfigKeys>;

/** The class's name, keys and defaults. */
export const DDIM_CLASS: ConfigClass<DDIMConfigKeys> = {
  className: "DDIMScheduler",
  fields: {
    ...trainingFields(),
    clip_sample: boolean(true),
    clip_sample_range: float(1, { above: 0 }),
    set_alpha_to_one: boolean(true),
    ...spacingFields("leading"),
    prediction_type: predictionField,
    thresholding: boolean(false),
    dynamic_thresholding_ratio: float(0.995, { min: 0, max: 1 }),
    sample_max_value: float(1, { above: 0 }),
    rescale_betas_zero_snr: boolean(false),
  },
};

/** Options of {@link DDIMScheduler.step}. */
export interface DDIMStepOptions extends StepOptions {
  /** Derive the noise again from the clipped clean sample, as GLIDE does; default false. */
  useClippedModelOutput?: boolean;
  /** The fresh noise itself, of the sample's shape, instead of a generator. */
  varianceNoise?: Tensor;
}

/** What {@link DDIMScheduler.step} returns. @see diffusers.schedulers.scheduling_ddim.DDIMSchedulerOutput */
export interface DDIMSchedulerOutput extends SchedulerOutput {
  readonly predOriginalSample: Tensor;
}

/** What is left of the clean sample before and after a step. */
interface StepAlphas {
  /** alpha_t, the cumulative product at the step's timestep. */
  readonly alpha: number;
  /** alpha_(t-1), that at the timestep after it. */
  readonly alphaPrev: number;
  readonly timestep: number;
}

/** The numbers of one step, each a float32 tensor without dimensions. */
interface Coefficients {
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

/** Up to here sigma_t^2 is less than 1 - alpha_(t-1), however float32 rounds. */
const SAFE_ETA = 0.99;

/**
 * Denoise with a denoising diffusion implicit model's steps, a solver of order 1. Any training timestep may be stepped at, in any order.
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
 * @see https://arxiv.org/abs/2010.02502 formulas (12) and (16), diffusers.DDIMScheduler
 */
export class DDIMScheduler extends SchedulerBase<DDIMConfigKeys, DDIMStepOptions> {
  static readonly kind = DDIM_CLASS;

  /**
   * Make a scheduler of a config's keys; those left out have diffusers' defaults.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for an unknown key; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a value
   */
  constructor(config: GivenConfig<DDIMConfigKeys> = {}) {
    super(DDIM_CLASS, config);
  }

  /**
   * Check that every step of the schedule that is set has finite coefficients.
   * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming the timestep, where diffusers goes on with NaN or infinity
   */
  override checkSteps(options?: StepOptions): void {
    const { eta: weight = 0 } = checkOptions(options, ["eta", "generator"], "DDIMScheduler.checkSteps");
    const eta = checkNumber(weight, "eta", 0, 1);
    for (const timestep of this.timesteps) {
      const alphas = this.#alphas(timestep);
      if (eta > SAFE_ETA) compute((torch) => coefficientsOf(torch, alphas, eta).stdDev).dispose();
    }
  }

  protected override get followsSchedule(): boolean {
    return false;
  }

  protected override makeTables(): NoiseTables {
    return tabulateNoise(this.config, this.config.rescale_betas_zero_snr);
  }

  protected override schedule({ count }: ScheduleRequest): Schedule {
    return { timesteps: checkedSpacing(this.config, count) };
  }

  protected override takeStep(
    torch: Arithmetic,
    { timestep, modelOutput, sample }: StepInput,
    options: DDIMStepOptions | undefined,
  ): TakenStep {
    const { eta, useClippedModelOutput, noise } = checkStep(options, modelOutput, sample);

    // 1. The timestep after this one  2. alphas and betas of both  5. sigma_t, among the coefficients
    const coefficients = coefficientsOf(torch, this.#alphas(timestep), eta);

    // 3. "predicted x_0" of formula (12), and the noise that goes with it
    const predicted = this.#predict(torch, coefficients, modelOutput, sample);

    // 4. Clip or threshold "predicted x_0"
    const predOriginalSample = this.#limit(torch, predicted.original);

    // GLIDE derives the noise again from the clipped x_0
    const predEpsilon = useClippedModelOutput
      ? noiseBetween(torch, coefficients, sample, predOriginalSample)
      : predicted.epsilon;

    // 6. "direction pointing to x_t" of formula (12)
    const direction = torch.mul(coefficients.directionScale, predEpsilon);

    // 7. x_(t-1) without random noise, then with; a deterministic run leaves its generator alone
    const withoutNoise = torch.add(torch.mul(coefficients.sqrtAlphaPrev, predOriginalSample), direction);
    if (eta === 0) return { prevSample: withoutNoise, predOriginalSample };
    const prevSample = torch.add(withoutNoise, torch.mul(coefficients.stdDev, noise(torch)));
    return { prevSample, predOriginalSample };
  }

  /** Look a step's alphas up, and refuse a step that cannot be taken with any eta. */
  #alphas(timestep: number): StepAlphas {
    const { num_train_timesteps: total, set_alpha_to_one: endsAtOne, clip_sample: clips } = this.config;
    const table = this.tables.alphasCumprod;
    const previous = timestep - Math.floor(total / (this.numInferenceSteps ?? total));
    const alpha = table[timestep] ?? NaN;
    const alphaPrev = (previous >= 0 ? table[previous] : endsAtOne ? 1 : table[0]) ?? NaN;
    // A division by 0: clipping brings infinities back, a quantile of infinities is none.
    if (alpha === 0 && this.config.prediction_type === "epsilon" && (this.config.thresholding || !clips)) {
      throw refuse(
        timestep,
        "nothing of the sample is left there (zero terminal SNR), and noise alone does not say what it was; " +
          'take prediction_type "v_prediction" or "sample", or a timestep_spacing that leaves it out',
      );
    }
    checkAlphas({ alpha, alphaPrev, timestep }, table.length);
    return { alpha, alphaPrev, timestep };
  }

  /** x_0 and e_theta, of which the network gave one, or a mixture. */
  #predict(
    torch: Arithmetic,
    coefficients: Coefficients,
    modelOutput: Tensor,
    sample: Tensor,
  ): { original: Tensor; epsilon: Tensor } {
    const { sqrtAlpha, sqrtBeta } = coefficients;
    switch (this.config.prediction_type) {
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

  #limit(torch: Arithmetic, predicted: Tensor): Tensor {
    const { thresholding, dynamic_thresholding_ratio: ratio, sample_max_value: max } = this.config;
    if (thresholding) return thresholdSample(torch, predicted, ratio, max);
    const { clip_sample: clips, clip_sample_range: range } = this.config;
    return clips ? torch.op("clamp", predicted, -range, range) : predicted;
  }
}

/** Check a step's options. `noise` draws, or takes what was given. */
function checkStep(
  options: DDIMStepOptions | undefined,
  modelOutput: Tensor,
  sample: Tensor,
): { eta: number; useClippedModelOutput: boolean; noise: (torch: Arithmetic) => Tensor } {
  const {
    eta = 0,
    useClippedModelOutput = false,
    generator,
    varianceNoise,
  } = checkOptions(options, ["eta", "useClippedModelOutput", "generator", "varianceNoise"], "DDIMScheduler.step");
  if (generator !== undefined && varianceNoise !== undefined)
    throw new InvalidArgumentError("Expected generator or varianceNoise but received both");
  if (varianceNoise !== undefined) checkSameShape(sample, "sample", varianceNoise, "varianceNoise");
  checkStepGenerator(generator, modelOutput);
  return {
    eta: checkNumber(eta, "eta", 0, 1),
    useClippedModelOutput: checkBoolean(useClippedModelOutput, "useClippedModelOutput"),
    noise: (torch) => varianceNoise ?? torch.own(drawLike(modelOutput, generator)),
  };
}

/** Refuse a step that divides by zero, or takes the root of less. */
function checkAlphas({ alpha, alphaPrev, timestep }: StepAlphas, known: number): void {
  if (timestep >= known) throw refuse(timestep, `trained_betas has ${known} values only`);
  if (!(alpha >= 0 && alpha <= 1 && alphaPrev >= 0 && alphaPrev <= 1))
    throw refuse(
      timestep,
      `the betas leave ${alpha} and ${alphaPrev} of the sample's variance, which must be from 0 to 1`,
    );
  if (Math.fround(1 - alpha) === 0)
    throw refuse(timestep, "there is no noise to remove: the betas up to it are 0 in float32");
  if (alphaPrev === 0)
    throw refuse(timestep, "nothing of the sample is left even after the step: the betas are too large");
}

/**
 * Compute a step's coefficients, and refuse a step that PyTorch makes NaN of. Roots are taken by `pow`, as diffusers takes
 * them: LibTorch's `pow(x, 0.5)` is not rounded as a square root is.
 */
function coefficientsOf(torch: Arithmetic, { alpha, alphaPrev, timestep }: StepAlphas, eta: number): Coefficients {
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
    throw refuse(
      timestep,
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

/** e_theta of a sample and the clean sample that it is to come from. */
function noiseBetween(torch: Arithmetic, coefficients: Coefficients, sample: Tensor, original: Tensor): Tensor {
  return torch.div(torch.sub(sample, torch.mul(coefficients.sqrtAlpha, original)), coefficients.sqrtBeta);
}

function refuse(timestep: number, why: string): Error {
  return unsolvable("DDIM", `timestep ${timestep}`, why);
}
