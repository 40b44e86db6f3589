import type { ConfigClass } from "../config/config.js";
import { boolean, integer, oneOf, renamed } from "../config/fields.js";
import type { Tensor } from "../torch/tensor.js";
import { checkOptions } from "../validate.js";
import type { GivenConfig, StepInput, TakenStep } from "./base.js";
import type { StepOptions } from "./contract.js";
import type { Arithmetic } from "./shared/arithmetic.js";
import { type DPMLevel, levelOf } from "./shared/dpm-updates.js";
import {
  exponentialFields,
  type ExponentialKeys,
  ExponentialScheduler,
  shiftingFields,
  type ShiftingKeys,
} from "./shared/exponential-scheduler.js";

/** The keys of a `DEISMultistepScheduler`'s `scheduler_config.json`. `timestep_spacing` is `"linspace"` by default. */
export interface DEISMultistepConfigKeys extends ExponentialKeys, ShiftingKeys {
  /** How many models the polynomial goes through, from 1 to 3; default 2. */
  solver_order: number;
  /** Only `"deis"`. */
  algorithm_type: "deis";
  /** Only `"logrho"`: the polynomial is one of log(rho). */
  solver_type: "logrho";
  /** Lower the order in the last steps of a run of fewer than 15; default true. */
  lower_order_final: boolean;
}

/** The class's name, keys and defaults. */
export const DEIS_CLASS: ConfigClass<DEISMultistepConfigKeys> = {
  className: "DEISMultistepScheduler",
  fields: {
    ...exponentialFields,
    solver_order: integer(2, { min: 1, max: 3 }),
    // Names of DPMSolver's and UniPC's configs, which diffusers replaces too.
    algorithm_type: renamed(oneOf("deis", ["deis"]), { dpmsolver: "deis", "dpmsolver++": "deis" }),
    solver_type: renamed(oneOf("logrho", ["logrho"]), {
      midpoint: "logrho",
      heun: "logrho",
      bh1: "logrho",
      bh2: "logrho",
    }),
    lower_order_final: boolean(true),
    ...shiftingFields,
  },
};

/** A noise level: rho = sigma / alpha, and its logarithm. */
interface Rho {
  readonly value: Tensor;
  readonly log: Tensor;
}

/**
 * Denoise by the diffusion exponential integrator sampler (log-rho AB-DEIS): a polynomial in log(rho) goes through the noises of the last 1
 * to 3 steps, and is integrated over rho. The run ends at the noise level of timestep 0.
 *
 * | variable | paper |
 * |---|---|
 * | `rhos` | rho = sigma / alpha |
 * | `model` | epsilon_theta |
 * | `weight` | the integral of a Lagrange polynomial over rho, which times alpha is C_ij |
 *
 * diffusers returns no `predOriginalSample`; this one is the clean sample that the step's noise means.
 * @see https://arxiv.org/abs/2204.13902 formulas (12) and (15), diffusers.DEISMultistepScheduler
 */
export class DEISMultistepScheduler extends ExponentialScheduler<DEISMultistepConfigKeys> {
  static readonly kind = DEIS_CLASS;

  /**
   * Make a scheduler of a config's keys; those left out have diffusers' defaults.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for an unknown key; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a value
   */
  constructor(config: GivenConfig<DEISMultistepConfigKeys> = {}) {
    super(DEIS_CLASS, config);
  }

  /** @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming the timestep, where diffusers goes on with NaN or fails */
  override checkSteps(options?: StepOptions): void {
    checkOptions(options, ["eta", "generator"], "DEISMultistepScheduler.checkSteps");
    this.checkLevels();
    this.checkFirstTimestep();
    const last = this.timesteps.length - 1;
    if (!(this.levelAt(last + 1) > 0))
      throw this.cannotStep(last, "the run ends at the noise of timestep 0, which has none in float32");
    for (let i = 1; i <= last; i++) {
      if (this.#orderAt(i, i) > 1 && this.levelAt(i) === this.levelAt(i - 1))
        throw this.cannotStep(i, "its noise level is that of the step before; take fewer steps");
    }
  }

  protected override lastLevel(levels?: readonly number[]): number {
    return levels?.at(-1) ?? this.table[0] ?? NaN;
  }

  /** The order of a step's update. @param known how many steps went before it */
  #orderAt(index: number, known: number): number {
    const { solver_order: most, lower_order_final: lowers } = this.config;
    const total = this.timesteps.length;
    const left = lowers && total < 15 ? total - index : most;
    return Math.min(most, left, known + 1);
  }

  protected override takeStep(
    torch: Arithmetic,
    { index, modelOutput, sample }: StepInput,
    options: StepOptions | undefined,
  ): TakenStep {
    checkOptions(options, ["eta", "generator"], "DEISMultistepScheduler.step");
    const order = this.#orderAt(index, this.history.length);
    const levels = Array.from({ length: order + 1 }, (_, i) => levelOf(torch, this.levelAt(index + 1 - i)));
    const [next, level] = levels as [DPMLevel, DPMLevel];

    // 1. The clean sample, thresholded where the config says so, and the noise that goes with it
    const { predOriginalSample } = this.cleanModel(torch, modelOutput, sample, level);
    const model = this.noiseOf(torch, predOriginalSample, sample, level);

    // 2. The update
    const models = [model, ...this.history.slice(0, order - 1)];
    const prevSample =
      order === 1 ? firstUpdate(torch, next, level, model, sample) : update(torch, levels, models, sample);

    this.remember(model, this.config.solver_order);
    return { prevSample, predOriginalSample };
  }
}

/** Formula (12) with one model: DDIM. */
function firstUpdate(torch: Arithmetic, next: DPMLevel, level: DPMLevel, model: Tensor, sample: Tensor): Tensor {
  const h = torch.sub(next.lambda, level.lambda);
  const weight = torch.mul(next.sigma, torch.sub(torch.op("exp", h), 1));
  return torch.sub(torch.mul(torch.div(next.alpha, level.alpha), sample), torch.mul(weight, model));
}

/** Formula (12): x_t = alpha_t * (x_s / alpha_s + the sum of weight * model). */
function update(torch: Arithmetic, levels: readonly DPMLevel[], models: readonly Tensor[], sample: Tensor): Tensor {
  const [next, level] = levels as [DPMLevel, DPMLevel];
  const [to, ...rhos] = levels.map(({ alpha, sigma }): Rho => {
    const value = torch.div(sigma, alpha);
    return { value, log: torch.op("log", value) };
  }) as [Rho, Rho, ...Rho[]];
  let sum = torch.div(sample, level.alpha);
  for (const [i, model] of models.entries()) {
    // The others in cyclic order, as diffusers has them.
    const [own, ...others] = [...rhos.slice(i), ...rhos.slice(0, i)] as [Rho, ...Rho[]];
    const weight = torch.sub(integralAt(torch, to, own, others), integralAt(torch, rhos[0] ?? own, own, others));
    sum = torch.add(sum, torch.mul(weight, model));
  }
  return torch.mul(next.alpha, sum);
}

/** The antiderivative at rho `t` of the Lagrange polynomial in log(rho) that is 1 at `own` and 0 at the others. */
function integralAt(torch: Arithmetic, t: Rho, own: Rho, [c, d]: readonly Rho[]): Tensor {
  if (!c) return t.value;
  const toC = torch.sub(own.log, c.log);
  if (!d) return torch.div(torch.mul(t.value, torch.sub(torch.add(torch.op("neg", c.log), t.log), 1)), toC);
  const first = torch.mul(c.log, torch.add(torch.sub(d.log, t.log), 1));
  const second = torch.add(torch.sub(first, torch.mul(d.log, t.log)), d.log);
  const third = torch.sub(torch.add(second, torch.pow(t.log, 2)), torch.mul(t.log, 2));
  const numerator = torch.mul(t.value, torch.add(third, 2));
  return torch.div(numerator, torch.mul(toC, torch.sub(own.log, d.log)));
}
