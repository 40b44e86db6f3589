import type { ConfigClass } from "../config/config.js";
import { boolean, float, unsupported } from "../config/fields.js";
import type { LatentDiffusionError } from "../errors.js";
import type { Tensor } from "../torch/tensor.js";
import { checkOptions } from "../validate.js";
import { type Schedule, SchedulerBase, type ScheduleRequest, type StepInput, type TakenStep } from "./base.js";
import type { GivenConfig } from "./configured.js";
import type { StepOptions } from "./contract.js";
import type { Arithmetic } from "./shared/arithmetic.js";
import {
  type NoiseTables,
  predictionField,
  type PredictionType,
  tabulateNoise,
  trainingFields,
  type TrainingKeys,
} from "./shared/betas.js";
import { unsolvable } from "./shared/checks.js";
import { checkedSpacing, spacingFields, type SpacingKeys } from "./shared/spacing.js";

/** The keys of a `DDIMInverseScheduler`'s `scheduler_config.json`. `timestep_spacing` `"linspace"` cannot be run. */
export interface DDIMInverseConfigKeys extends TrainingKeys, SpacingKeys {
  /** Clip the predicted clean sample to ±`clip_sample_range`; default true. */
  clip_sample: boolean;
  /** Let the first step begin at alpha 1 rather than at that of timestep 0; default true. */
  set_alpha_to_one: boolean;
  /** Default `"epsilon"`. */
  prediction_type: PredictionType;
  /** Above 0; default 1. */
  clip_sample_range: number;
  /** Rescale the betas so that the last timestep is pure noise; default false. @see https://arxiv.org/abs/2305.08891 algorithm 1 */
  rescale_betas_zero_snr: boolean;
}

/** The class's name, keys and defaults. */
export const DDIM_INVERSE_CLASS: ConfigClass<DDIMInverseConfigKeys> = {
  className: "DDIMInverseScheduler",
  fields: {
    ...trainingFields(),
    clip_sample: boolean(true),
    set_alpha_to_one: boolean(true),
    prediction_type: predictionField,
    clip_sample_range: float(1, { above: 0 }),
    ...spacingFields("leading"),
    rescale_betas_zero_snr: boolean(false),
  },
};

/** What is left of the clean sample before and after a step. */
interface StepAlphas {
  /** Where the step begins, one stride below its timestep. */
  readonly alpha: number;
  /** At the step's timestep, where it ends: diffusers' `alpha_prod_t_prev`. */
  readonly alphaNext: number;
}

/**
 * Turn a clean sample into the noise that DDIM's steps with `eta` 0 would make it of: DDIM's formula, with the timesteps rising. Of order 1.
 * Any timestep may be stepped at, in any order. `prevSample` is the noisier sample.
 *
 * | variable | paper |
 * |---|---|
 * | `epsilon` | e_theta(x_t, t) |
 * | `predOriginalSample` | f_theta(x_t, t), x_0 |
 *
 * @see https://arxiv.org/abs/2010.02502 formula (14), https://arxiv.org/abs/2105.05233 section F; diffusers.DDIMInverseScheduler
 */
export class DDIMInverseScheduler extends SchedulerBase<DDIMInverseConfigKeys, StepOptions> {
  static readonly kind = DDIM_INVERSE_CLASS;
  static override readonly compatibles: readonly string[] = ["DDIMInverseScheduler"];

  /**
   * Make a scheduler of a config's keys; those left out have diffusers' defaults.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for an unknown key; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a value
   */
  constructor(config: GivenConfig<DDIMInverseConfigKeys> = {}) {
    super(DDIM_INVERSE_CLASS, config);
    // diffusers still reads the old name, but writes a file that says the opposite.
    const { set_alpha_to_zero: old } = this.config;
    if (old !== undefined && old !== null) throw unsupported("set_alpha_to_zero, now set_alpha_to_one,", "null", old);
  }

  /** @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming the timestep, where diffusers goes on with NaN or infinity */
  override checkSteps(options?: StepOptions): void {
    checkOptions(options, ["eta", "generator"], "DDIMInverseScheduler.checkSteps");
    for (const timestep of this.timesteps) this.#alphas(timestep);
  }

  protected override get followsSchedule(): boolean {
    return false;
  }

  protected override makeTables(): NoiseTables {
    return tabulateNoise(this.config, this.config.rescale_betas_zero_snr);
  }

  protected override schedule({ count }: ScheduleRequest): Schedule {
    if (this.config.timestep_spacing === "linspace")
      throw unsupported("timestep_spacing", '"leading" or "trailing" to set timesteps', "linspace");
    return { timesteps: checkedSpacing(this.config, count).reverse() };
  }

  protected override initialSchedule(): Schedule {
    return { timesteps: Object.freeze(Array.from({ length: this.config.num_train_timesteps }, (_, i) => i)) };
  }

  protected override takeStep(
    torch: Arithmetic,
    { timestep, modelOutput, sample }: StepInput,
    options: StepOptions | undefined,
  ): TakenStep {
    checkOptions(options, ["eta", "generator"], "DDIMInverseScheduler.step");

    // 1. Where the step begins and ends
    const { alpha, alphaNext } = this.#alphas(timestep);
    const alphaProdNext = torch.scalar(alphaNext);

    // 2. "predicted x_0" of formula (12), clipped, and the noise that goes with it
    const { original, epsilon } = this.#predict(torch, alpha, modelOutput, sample);
    const { clip_sample: clips, clip_sample_range: range } = this.config;
    const predOriginalSample = clips ? torch.op("clamp", original, -range, range) : original;

    // 3. The same direction, to the higher noise level
    const direction = torch.mul(torch.pow(torch.rsub(alphaProdNext, 1), 0.5), epsilon);
    const prevSample = torch.add(torch.mul(torch.pow(alphaProdNext, 0.5), predOriginalSample), direction);
    return { prevSample, predOriginalSample };
  }

  /** Look a step's alphas up, and refuse a step that divides by zero or takes the root of less. */
  #alphas(timestep: number): StepAlphas {
    const { num_train_timesteps: total, set_alpha_to_one: beginsAtOne, prediction_type: type } = this.config;
    const { clip_sample: clips } = this.config;
    const table = this.tables.alphasCumprod;
    const from = Math.min(timestep - Math.floor(total / (this.numInferenceSteps ?? total)), total - 1);
    const alpha = from >= 0 ? table[from] : beginsAtOne ? 1 : table[0];
    const alphaNext = table[timestep];
    if (alpha === undefined || alphaNext === undefined)
      throw this.#cannotStep(timestep, `trained_betas has ${table.length} values only`);
    if (!(alpha >= 0 && alpha <= 1 && alphaNext >= 0 && alphaNext <= 1))
      throw this.#cannotStep(
        timestep,
        `the betas leave ${alpha} and ${alphaNext} of the sample's variance, which must be from 0 to 1`,
      );
    // Clipping brings infinities back.
    if (type === "epsilon" && alpha === 0 && !clips)
      throw this.#cannotStep(timestep, "nothing of the sample is left where the step begins: the betas are too large");
    if (type === "sample" && Math.fround(1 - alpha) === 0)
      throw this.#cannotStep(
        timestep,
        "there is no noise where the step begins, and a clean sample does not say which to add; take set_alpha_to_one false",
      );
    return { alpha, alphaNext };
  }

  #cannotStep(timestep: number, why: string): LatentDiffusionError {
    return unsolvable("DDIMInverse", `timestep ${timestep}`, why);
  }

  /** x_0 and e_theta, of which the network gave one, or a mixture. */
  #predict(
    torch: Arithmetic,
    alpha: number,
    modelOutput: Tensor,
    sample: Tensor,
  ): { readonly original: Tensor; readonly epsilon: Tensor } {
    const alphaProd = torch.scalar(alpha);
    const [sqrtAlpha, sqrtBeta] = [torch.pow(alphaProd, 0.5), torch.pow(torch.rsub(alphaProd, 1), 0.5)];
    switch (this.config.prediction_type) {
      case "epsilon":
        return {
          original: torch.div(torch.sub(sample, torch.mul(sqrtBeta, modelOutput)), sqrtAlpha),
          epsilon: modelOutput,
        };
      case "sample":
        return {
          original: modelOutput,
          epsilon: torch.div(torch.sub(sample, torch.mul(sqrtAlpha, modelOutput)), sqrtBeta),
        };
      case "v_prediction":
        return {
          original: torch.sub(torch.mul(sqrtAlpha, sample), torch.mul(sqrtBeta, modelOutput)),
          epsilon: torch.add(torch.mul(sqrtAlpha, modelOutput), torch.mul(sqrtBeta, sample)),
        };
    }
  }
}
