import type { Config, ConfigClass } from "../config/config.js";
import { boolean, float, integer, listOf, MAX_TRAIN_TIMESTEPS, nullable, oneOf } from "../config/fields.js";

/** How noise grows over the training timesteps. */
export type BetaSchedule = "linear" | "scaled_linear" | "squaredcos_cap_v2";

/** What the network was trained to predict: the noise, the clean sample, or the velocity between the two. */
export type PredictionType = "epsilon" | "sample" | "v_prediction";

/** Which of the training timesteps a run visits. @see https://arxiv.org/abs/2305.08891 table 2 */
export type TimestepSpacing = "leading" | "linspace" | "trailing";

/** The keys of a `DDIMScheduler`'s `scheduler_config.json`. */
export interface DDIMConfigKeys {
  /** Timesteps that the network was trained on; default 1000. */
  num_train_timesteps: number;
  /** The first beta; default 0.0001. */
  beta_start: number;
  /** The last beta; default 0.02. */
  beta_end: number;
  /** Default `"linear"`. */
  beta_schedule: BetaSchedule;
  /** The betas themselves, instead of a schedule; at least `num_train_timesteps` values in [0, 1]. */
  trained_betas: readonly number[] | null;
  /** Clip the predicted clean sample to ±`clip_sample_range`; default true. */
  clip_sample: boolean;
  /** Above 0; default 1. */
  clip_sample_range: number;
  /** Let the last step end at alpha 1 rather than at that of timestep 0; default true. */
  set_alpha_to_one: boolean;
  /** Added to the timesteps of `"leading"` spacing; default 0. */
  steps_offset: number;
  /** Default `"epsilon"`. */
  prediction_type: PredictionType;
  /** Threshold the predicted clean sample dynamically, for models of pixels; default false. @see https://arxiv.org/abs/2205.11487 */
  thresholding: boolean;
  /** The quantile of dynamic thresholding, in [0, 1]; default 0.995. */
  dynamic_thresholding_ratio: number;
  /** The largest threshold; default 1. */
  sample_max_value: number;
  /** Default `"leading"`. */
  timestep_spacing: TimestepSpacing;
  /** Rescale the betas so that the last timestep is pure noise; default false. @see https://arxiv.org/abs/2305.08891 algorithm 1 */
  rescale_betas_zero_snr: boolean;
}

export type DDIMConfig = Config<DDIMConfigKeys>;

/** The class's name, keys and defaults; what the betas must add up to is checked on their table. */
export const DDIM_CLASS: ConfigClass<DDIMConfigKeys> = {
  className: "DDIMScheduler",
  fields: {
    num_train_timesteps: integer(1000, { max: MAX_TRAIN_TIMESTEPS }),
    beta_start: float(0.0001),
    beta_end: float(0.02),
    beta_schedule: oneOf("linear", ["linear", "scaled_linear", "squaredcos_cap_v2"]),
    trained_betas: nullable(listOf([], float(0, { min: 0, max: 1 }), MAX_TRAIN_TIMESTEPS)),
    clip_sample: boolean(true),
    clip_sample_range: float(1, { above: 0 }),
    set_alpha_to_one: boolean(true),
    steps_offset: integer(0, { min: 0, max: MAX_TRAIN_TIMESTEPS }),
    prediction_type: oneOf("epsilon", ["epsilon", "sample", "v_prediction"]),
    thresholding: boolean(false),
    dynamic_thresholding_ratio: float(0.995, { min: 0, max: 1 }),
    sample_max_value: float(1, { above: 0 }),
    timestep_spacing: oneOf("leading", ["leading", "linspace", "trailing"]),
    rescale_betas_zero_snr: boolean(false),
  },
};
