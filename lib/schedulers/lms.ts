import type { ConfigClass } from "../config/config.js";
import type { Tensor } from "../torch/tensor.js";
import { checkInteger, checkOptions } from "../validate.js";
import { type GivenConfig, type Schedule, type ScheduleRequest, type StepInput, type TakenStep } from "./base.js";
import type { StepOptions } from "./contract.js";
import { keep, unsolvable } from "./shared/checks.js";
import type { Arithmetic } from "./shared/arithmetic.js";
import { predictionField, type PredictionType, trainingFields, type TrainingKeys } from "./shared/betas.js";
import { integrate } from "./shared/quadrature.js";
import { SigmaScheduler, withLast } from "./shared/sigma-scheduler.js";
import { sigmaFields, type SigmaKeys, spreadOf } from "./shared/sigmas.js";
import { spacingFields, type SpacingKeys } from "./shared/spacing.js";

/** The keys of an `LMSDiscreteScheduler`'s `scheduler_config.json`. `timestep_spacing` is `"linspace"` by default. */
export interface LMSConfigKeys extends TrainingKeys, SpacingKeys, SigmaKeys {
  /** Default `"epsilon"`. */
  prediction_type: PredictionType;
}

/** The class's name, keys and defaults. */
export const LMS_CLASS: ConfigClass<LMSConfigKeys> = {
  className: "LMSDiscreteScheduler",
  fields: {
    ...trainingFields(),
    ...sigmaFields,
    prediction_type: predictionField,
    ...spacingFields("linspace"),
  },
};

/** Options of {@link LMSDiscreteScheduler.step}. */
export interface LMSStepOptions extends StepOptions {
  /** How many derivatives the multistep method uses, from 1 to 20; default 4. */
  order?: number;
}

/**
 * Denoise by the linear multistep method of Adams and Bashforth, of order 4 by default, along the probability flow ODE: the polynomial
 * through the last derivatives is integrated from one noise level to the next.
 * @see https://arxiv.org/abs/2206.00364 for the ODE; diffusers.LMSDiscreteScheduler
 */
export class LMSDiscreteScheduler extends SigmaScheduler<LMSConfigKeys, LMSStepOptions> {
  static readonly kind = LMS_CLASS;
  /** The last derivatives, oldest first. */
  #derivatives: Tensor[] = [];

  /**
   * Make a scheduler of a config's keys; those left out have diffusers' defaults.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for an unknown key; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a value
   */
  constructor(config: GivenConfig<LMSConfigKeys> = {}) {
    super(LMS_CLASS, config);
    spreadOf(this.config);
  }

  /** @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for what cannot be stepped with */
  override checkSteps(options?: StepOptions): void {
    checkOptions(options, ["eta", "generator"], "LMSDiscreteScheduler.checkSteps");
    this.checkLevels();
    const twice = this.timesteps.findIndex((_, i) => i > 0 && this.levelAt(i) === this.levelAt(i - 1));
    if (twice > 0)
      throw unsolvable(
        this.className,
        `step ${twice}, timestep ${this.timesteps[twice]}`,
        "its noise level is that of the step before; take fewer steps",
      );
  }

  protected override schedule({ count }: ScheduleRequest): Schedule {
    const { timesteps, sigmas } = this.levelsOf(this.space(count), spreadOf(this.config), count);
    return { timesteps, sigmas: withLast(sigmas, 0) };
  }

  protected override takeStep(
    torch: Arithmetic,
    { index, modelOutput, sample }: StepInput,
    options: LMSStepOptions | undefined,
  ): TakenStep {
    const { order: asked = 4 } = checkOptions(options, ["eta", "generator", "order"], "LMSDiscreteScheduler.step");
    const most = checkInteger(asked, "order", 1, 20);
    const sigma = torch.scalar(this.levelAt(index));

    // 1. The clean sample, and the derivative of the ODE
    const predOriginalSample = this.predictOriginal(torch, modelOutput, sample, sigma);
    const derivative = torch.div(torch.sub(sample, predOriginalSample), sigma);
    this.#derivatives.push(keep(derivative));
    while (this.#derivatives.length > most) this.#derivatives.shift()?.dispose();

    // 2. The integral of each Lagrange polynomial weighs its derivative, the newest first
    const order = Math.min(index + 1, most);
    const newestFirst = [...this.#derivatives].reverse().slice(0, order);
    const terms = newestFirst.map((past, i) => torch.mul(past, this.#coefficient(order, index, i)));

    // Python's sum begins with the number 0.
    const sum = terms.reduce<Tensor | undefined>(
      (all, term) => (all ? torch.add(all, term) : torch.add(term, 0)),
      undefined,
    );
    return { prevSample: sum ? torch.add(sample, sum) : sample, predOriginalSample };
  }

  /** Integrate the Lagrange polynomial of one derivative over a step: an integrand in float32, as diffusers'. */
  #coefficient(order: number, index: number, current: number): number {
    const others = Array.from({ length: order }, (_, k) => k).filter((k) => k !== current);
    const own = this.levelAt(index - current);
    const polynomial = (tau: number): number =>
      others.reduce((product, k) => {
        const level = this.levelAt(index - k);
        const ratio = Math.fround(Math.fround(Math.fround(tau) - level) / Math.fround(own - level));
        return Math.fround(product * ratio);
      }, 1);
    return integrate(polynomial, this.levelAt(index), this.levelAt(index + 1));
  }

  protected override forget(): void {
    for (const derivative of this.#derivatives) derivative.dispose();
    this.#derivatives = [];
  }

  protected override adopt(other: this): void {
    this.#derivatives = other.#derivatives.map(keep);
  }
}
