import { boolean, type Fields, float, integer, MAX_TRAIN_TIMESTEPS } from "../../config/fields.js";
import { InvalidArgumentError, LatentDiffusionError } from "../../errors.js";
import { checkInteger, checkNumber, unexpected } from "../../validate.js";
import { type Schedule, SchedulerBase, type ScheduleRequest } from "../base.js";
import type { SetTimestepsOptions, StepOptions } from "../contract.js";
import { type NoiseTables, predictionField, type PredictionType, tabulateNoise } from "./betas.js";
import { trainingFields, type TrainingKeys } from "./betas.js";
import { unsolvable } from "./checks.js";
import { spacingFields, type SpacingKeys } from "./spacing.js";

/** The config keys of schedulers for distilled networks. By default the betas are those of Stable Diffusion. */
export interface ConsistencyKeys extends TrainingKeys, SpacingKeys {
  /** How many of the training timesteps the network was distilled on; a run visits some of these. Default 50. */
  original_inference_steps: number;
  /** Clip the predicted clean sample to ±`clip_sample_range`; default false. */
  clip_sample: boolean;
  /** Above 0; default 1. */
  clip_sample_range: number;
  /** Unused, as in diffusers: no step of these schedulers ends before timestep 0. */
  set_alpha_to_one: boolean;
  /** Default `"epsilon"`. */
  prediction_type: PredictionType;
  /** Threshold the predicted clean sample dynamically; default false. @see https://arxiv.org/abs/2205.11487 section 2.3 */
  thresholding: boolean;
  /** The quantile of dynamic thresholding, in [0, 1]; default 0.995. */
  dynamic_thresholding_ratio: number;
  /** The largest threshold; default 1. */
  sample_max_value: number;
  /** What timesteps are multiplied by in the boundary conditions; default 10. */
  timestep_scaling: number;
  /** Rescale the betas so that the last timestep is pure noise; default false. @see https://arxiv.org/abs/2305.08891 algorithm 1 */
  rescale_betas_zero_snr: boolean;
}

/** The fields of {@link ConsistencyKeys}. `timestep_spacing` and `steps_offset` are unused, as in diffusers. */
export const consistencyFields: Fields<ConsistencyKeys> = {
  ...trainingFields({ start: 0.00085, end: 0.012, schedule: "scaled_linear" }),
  original_inference_steps: integer(50, { max: MAX_TRAIN_TIMESTEPS }),
  clip_sample: boolean(false),
  clip_sample_range: float(1, { above: 0 }),
  set_alpha_to_one: boolean(true),
  prediction_type: predictionField,
  thresholding: boolean(false),
  dynamic_thresholding_ratio: float(0.995, { min: 0, max: 1 }),
  sample_max_value: float(1, { above: 0 }),
  ...spacingFields("leading"),
  timestep_scaling: float(10),
  rescale_betas_zero_snr: boolean(false),
};

/** A scheduler of few steps, for networks that were distilled to jump along the trajectory. */
export abstract class ConsistencyScheduler<
  Keys extends ConsistencyKeys,
  Options extends StepOptions,
> extends SchedulerBase<Keys, Options> {
  /** The timestep that a run visits after one of its own; -1 after the last. @see diffusers.LCMScheduler.previous_timestep */
  previousTimestep(timestep: number): number {
    const index = this.timesteps.indexOf(checkNumber(timestep, "timestep"));
    if (index < 0) throw unexpected("one of scheduler.timesteps", "timestep", timestep);
    return this.timesteps[index + 1] ?? -1;
  }

  /** Whether `originalInferenceSteps` stands for every training timestep. */
  protected abstract get visitsAll(): boolean;

  protected override get accepts(): readonly (keyof SetTimestepsOptions)[] {
    return ["timesteps", "originalInferenceSteps", "strength"];
  }

  protected override makeTables(): NoiseTables {
    return tabulateNoise(this.config, this.config.rescale_betas_zero_snr);
  }

  protected override schedule(request: ScheduleRequest): Schedule {
    const { num_train_timesteps: total } = this.config;
    const { count, timesteps, strength = 1 } = request;
    checkNumber(strength, "strength", 0, 1);
    const original = this.#originalSteps(request);
    if (timesteps) {
      // diffusers ends such a run with noise.
      if (strength !== 1) throw unexpected("1 with timesteps", "strength", strength);
      return { timesteps: timesteps.map((t, i) => checkInteger(t, `timesteps[${i}]`, 0, total - 1)) };
    }
    const known = this.#distilledTimesteps(request, original, strength);
    const most = Math.min(original, known.length);
    if (count > most)
      throw new InvalidArgumentError(
        `Expected an integer from 1 to ${most} for numInferenceSteps but received ${count}: a run visits some of the ${known.length} timesteps that original_inference_steps ${original} and strength ${strength} leave`,
      );
    // numpy.linspace without its end
    const step = known.length / count;
    return {
      timesteps: Array.from({ length: count }, (_, i) => known[known.length - 1 - Math.floor(i * step)] ?? NaN),
    };
  }

  #originalSteps({ originalInferenceSteps: given }: ScheduleRequest): number {
    const { num_train_timesteps: total, original_inference_steps: configured } = this.config;
    if (given !== undefined) return checkInteger(given, "originalInferenceSteps", 1, total);
    if (configured <= total) return configured;
    throw new LatentDiffusionError(
      "ERR_CONFIG_UNSUPPORTED",
      `Expected original_inference_steps of at most num_train_timesteps, ${total}, to set timesteps but received ${configured}`,
    );
  }

  /** The timesteps that a run may visit, rising. */
  #distilledTimesteps({ originalInferenceSteps }: ScheduleRequest, original: number, strength: number): number[] {
    const { num_train_timesteps: total } = this.config;
    if (originalInferenceSteps !== undefined && this.visitsAll)
      return Array.from({ length: Math.trunc(total * strength) }, (_, i) => i);
    const ratio = Math.floor(total / original);
    return Array.from({ length: Math.trunc(original * strength) }, (_, i) => (i + 1) * ratio - 1);
  }

  /** What is left of the clean sample's variance at a timestep. @throws InvalidArgumentError, LatentDiffusionError */
  protected alphaAt(timestep: number): number {
    const table = this.tables.alphasCumprod;
    const alpha = table[checkInteger(timestep, "timestep", 0, this.config.num_train_timesteps - 1)];
    if (alpha === undefined) throw this.cannotStep(timestep, `trained_betas has ${table.length} values only`);
    if (alpha >= 0 && alpha <= 1) return alpha;
    throw this.cannotStep(timestep, `the betas leave ${alpha} of the sample's variance, which must be from 0 to 1`);
  }

  /** The error for a step that would make NaN or infinity. */
  protected cannotStep(timestep: number, why: string): LatentDiffusionError {
    return unsolvable(this.className, `timestep ${timestep}`, why);
  }

  /** Refuse to divide by nothing where a network predicts noise. */
  protected checkPrediction(timestep: number, alpha: number): void {
    if (alpha === 0 && this.config.prediction_type === "epsilon")
      throw this.cannotStep(
        timestep,
        "nothing of the sample is left there (zero terminal SNR), and noise alone does not say what it was; " +
          'take prediction_type "v_prediction" or "sample"',
      );
  }
}
