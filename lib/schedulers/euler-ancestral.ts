import type { ConfigClass } from "../config/config.js";
import type { Tensor } from "../torch/tensor.js";
import { boolean, unsupported } from "../config/fields.js";
import { checkOptions } from "../validate.js";
import { type GivenConfig, type Schedule, type ScheduleRequest, type StepInput, type TakenStep } from "./base.js";
import type { StepOptions } from "./contract.js";
import { checkStepGenerator, unsolvable } from "./shared/checks.js";
import { type Arithmetic, compute } from "./shared/arithmetic.js";
import {
  type NoiseTables,
  predictionField,
  type PredictionType,
  tabulateFiniteNoise,
  trainingFields,
  type TrainingKeys,
} from "./shared/betas.js";
import { drawLike } from "./shared/noise.js";
import { SigmaScheduler, upcast, withLast } from "./shared/sigma-scheduler.js";
import { spacingFields, type SpacingKeys } from "./shared/spacing.js";

/** The keys of an `EulerAncestralDiscreteScheduler`'s `scheduler_config.json`. `timestep_spacing` is `"linspace"` by default. */
export interface EulerAncestralConfigKeys extends TrainingKeys, SpacingKeys {
  /** `"epsilon"`, the default, or `"v_prediction"`; diffusers constructs `"sample"` and cannot step with it. */
  prediction_type: PredictionType;
  /** Rescale the betas so that the last timestep is nearly pure noise; default false. @see https://arxiv.org/abs/2305.08891 */
  rescale_betas_zero_snr: boolean;
}

/** The class's name, keys and defaults. */
export const EULER_ANCESTRAL_CLASS: ConfigClass<EulerAncestralConfigKeys> = {
  className: "EulerAncestralDiscreteScheduler",
  fields: {
    ...trainingFields(),
    prediction_type: predictionField,
    ...spacingFields("linspace"),
    rescale_betas_zero_snr: boolean(false),
  },
};

/**
 * Denoise by ancestral sampling with Euler's method, of order 1: each step goes below its noise level, and adds fresh noise up to it.
 *
 * | variable | k-diffusion |
 * |---|---|
 * | `sigmaUp` | the standard deviation of the fresh noise |
 * | `sigmaDown` | where Euler's step goes; sigmaUp^2 + sigmaDown^2 = sigmaTo^2 |
 *
 * @see https://arxiv.org/abs/2006.11239 algorithm 2 in this form; diffusers.EulerAncestralDiscreteScheduler
 */
export class EulerAncestralDiscreteScheduler extends SigmaScheduler<EulerAncestralConfigKeys, StepOptions> {
  static readonly kind = EULER_ANCESTRAL_CLASS;

  /**
   * Make a scheduler of a config's keys; those left out have diffusers' defaults.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for an unknown key; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a value
   */
  constructor(config: GivenConfig<EulerAncestralConfigKeys> = {}) {
    super(EULER_ANCESTRAL_CLASS, config);
  }

  /** @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for what cannot be stepped with */
  override checkSteps(options?: StepOptions): void {
    checkOptions(options, ["eta", "generator"], "EulerAncestralDiscreteScheduler.checkSteps");
    this.#checkPrediction();
    this.checkLevels();
    for (const [i, timestep] of this.timesteps.entries()) {
      const down = compute((torch) => splitLevel(torch, this.levelAt(i), this.levelAt(i + 1)).sigmaDown);
      const value = Number(down.dataSync()[0]);
      down.dispose();
      if (!Number.isFinite(value))
        throw unsolvable(
          this.className,
          `timestep ${timestep}`,
          `in float32 the noise level falls too far at once, from ${this.levelAt(i)} to ${this.levelAt(i + 1)}; take more steps`,
        );
    }
  }

  protected override makeTables(): NoiseTables {
    return tabulateFiniteNoise(this.config);
  }

  protected override schedule({ count }: ScheduleRequest): Schedule {
    const { timesteps, sigmas } = this.levelsOf(this.space(count), undefined);
    return { timesteps, sigmas: withLast(sigmas, 0) };
  }

  protected override takeStep(
    torch: Arithmetic,
    { index, modelOutput, sample: given }: StepInput,
    options: StepOptions | undefined,
  ): TakenStep {
    const { generator } = checkOptions(options, ["eta", "generator"], "EulerAncestralDiscreteScheduler.step");
    checkStepGenerator(generator, modelOutput);
    this.#checkPrediction();
    const sample = upcast(torch, given);
    const from = torch.scalar(this.levelAt(index));

    // 1. The clean sample
    const predOriginalSample = this.predictOriginal(torch, modelOutput, sample, from);

    // 2. How much of the next level is fresh noise
    const { sigmaUp, sigmaDown } = splitLevel(torch, this.levelAt(index), this.levelAt(index + 1));

    // 3. Euler's step down, then the noise
    const derivative = torch.div(torch.sub(sample, predOriginalSample), from);
    const down = torch.add(sample, torch.mul(derivative, torch.sub(sigmaDown, from)));
    const noise = torch.own(drawLike(modelOutput, generator));
    const prevSample = torch.add(down, torch.mul(noise, sigmaUp));
    return { prevSample: torch.op("to.dtype", prevSample, modelOutput.dtype), predOriginalSample };
  }

  #checkPrediction(): void {
    const { prediction_type: type } = this.config;
    if (type === "sample") throw unsupported("prediction_type", '"epsilon" or "v_prediction" to step', type);
  }
}

/** Split a noise level into that where Euler's step goes, and that of the fresh noise, which rounding may make NaN. */
function splitLevel(
  torch: Arithmetic,
  from: number,
  to: number,
): { readonly sigmaUp: Tensor; readonly sigmaDown: Tensor } {
  const [from2, to2] = [torch.pow(torch.scalar(from), 2), torch.pow(torch.scalar(to), 2)];
  const sigmaUp = torch.pow(torch.div(torch.mul(to2, torch.sub(from2, to2)), from2), 0.5);
  return { sigmaUp, sigmaDown: torch.pow(torch.sub(to2, torch.pow(sigmaUp, 2)), 0.5) };
}
