import type { ConfigClass } from "../config/config.js";
import { checkOptions } from "../validate.js";
import type { GivenConfig, ScheduleRequest, StepInput, TakenStep } from "./base.js";
import type { StepOptions } from "./contract.js";
import type { Arithmetic } from "./shared/arithmetic.js";
import { interleave, middleLevels, twice } from "./shared/midpoint-levels.js";
import {
  midpointFields,
  type MidpointKeys,
  type MidpointSchedule,
  MidpointScheduler,
} from "./shared/midpoint-scheduler.js";
import { withLast } from "./shared/sigma-scheduler.js";
import { roundHalfToEven } from "./shared/spacing.js";

/** The keys of a `KDPM2DiscreteScheduler`'s `scheduler_config.json`. */
export type KDPM2ConfigKeys = MidpointKeys;

/** The class's name, keys and defaults. */
export const KDPM2_CLASS: ConfigClass<KDPM2ConfigKeys> = {
  className: "KDPM2DiscreteScheduler",
  fields: midpointFields,
};

/**
 * Denoise by DPM-Solver-2 as k-diffusion has it (`sample_dpm_2`), of order 2: along the probability flow ODE by the midpoint rule, where the
 * middle is that of log(sigma). N steps evaluate the network 2N - 1 times.
 *
 * | variable | paper |
 * |---|---|
 * | `sigma`, `next` | t_i and t_(i+1) |
 * | `middle` | s_i, with lambda_s the mean of both lambdas |
 * | `predOriginalSample` | D_theta(x; t) |
 *
 * @see https://arxiv.org/abs/2206.00364 algorithm 2 without churn, https://arxiv.org/abs/2206.00927 algorithm 1;
 *   diffusers.KDPM2DiscreteScheduler
 */
export class KDPM2DiscreteScheduler extends MidpointScheduler<KDPM2ConfigKeys> {
  static readonly kind = KDPM2_CLASS;

  /**
   * Make a scheduler of a config's keys; those left out have diffusers' defaults.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for an unknown key; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a value
   */
  constructor(config: GivenConfig<KDPM2ConfigKeys> = {}) {
    super(KDPM2_CLASS, config);
  }

  /** @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for what cannot be stepped with */
  override checkSteps(options?: StepOptions): void {
    checkOptions(options, ["eta", "generator"], "KDPM2DiscreteScheduler.checkSteps");
    this.checkHalves();
  }

  protected override schedule({ count }: ScheduleRequest): MidpointSchedule {
    const { timesteps, sigmas, spread } = this.spaced(count);
    const levels = withLast(sigmas, 0);
    const middles = middlesOf(levels);
    return {
      timesteps: interleave(
        spread === "karras" ? timesteps.map(roundHalfToEven) : timesteps,
        this.timestepsOf(middles).map(Math.fround),
      ),
      sigmas: twice(levels),
      middles,
    };
  }

  protected override takeStep(torch: Arithmetic, input: StepInput, options: StepOptions | undefined): TakenStep {
    checkOptions(options, ["eta", "generator"], "KDPM2DiscreteScheduler.step");
    const step = input.index >> 1;
    return this.takeHalf(torch, input, torch.scalar(this.middleAt(step)), torch.scalar(this.levelAt(2 * step + 1)));
  }
}

/** The level between each level and the next one, in the middle of their logarithms; 0 before the last. */
function middlesOf(levels: Float32Array): Float32Array {
  const [last, ...others] = [...levels].reverse();
  // [last level, first, second, ...]: what each level is interpolated with, as torch.roll gives it.
  const before = Float32Array.of(last ?? NaN, ...others.reverse());
  return middleLevels(levels, before).slice(1);
}
