import type { ConfigClass } from "../config/config.js";
import {
  boolean,
  type Field,
  float,
  integer,
  MAX_TRAIN_TIMESTEPS,
  nullable,
  oneOf,
  only,
  renamed,
  unsupported,
} from "../config/fields.js";
import type { Tensor } from "../torch/tensor.js";
import { checkOptions } from "../validate.js";
import type { GivenConfig, StepInput, TakenStep } from "./base.js";
import type { StepOptions } from "./contract.js";
import { unipcUpdate, type UniPCSolverType } from "./shared/unipc-updates.js";
import type { Arithmetic } from "./shared/arithmetic.js";
import { type NoiseTables, tabulateFiniteNoise } from "./shared/betas.js";
import { keep } from "./shared/checks.js";
import { type DPMLevel, levelOf } from "./shared/dpm-updates.js";
import {
  exponentialFields,
  type ExponentialKeys,
  ExponentialScheduler,
  shiftingFields,
  type ShiftingKeys,
} from "./shared/exponential-scheduler.js";

/** The keys of a `UniPCMultistepScheduler`'s `scheduler_config.json`. `timestep_spacing` is `"linspace"` by default. */
export interface UniPCMultistepConfigKeys extends ExponentialKeys, ShiftingKeys {
  /** The order p of the predictor; the corrector raises it by one. At least 1; default 2. */
  solver_order: number;
  /** Follow the predicted clean sample, not the noise; default true. */
  predict_x0: boolean;
  /** B(h); default `"bh2"`. `"bh1"` needs `final_sigmas_type` `"sigma_min"` to run. */
  solver_type: UniPCSolverType;
  /** Lower the order towards the end of a run; default true. */
  lower_order_final: boolean;
  /** The steps, counted from 0, whose result is not corrected; default none. */
  disable_corrector: readonly number[];
  /** Only null: another scheduler as the predictor does not fit into a file. */
  solver_p: null;
  /** Where the run ends: without noise, or at the least noise; default `"zero"`. */
  final_sigmas_type: "zero" | "sigma_min";
  /** Rescale the betas so that the last timestep is nearly pure noise; default false. @see https://arxiv.org/abs/2305.08891 */
  rescale_betas_zero_snr: boolean;
  /** The lowest noise level of a spread; default null, that of timestep 0. */
  sigma_min: number | null;
  /** The highest noise level of a spread; default null, that of the last timestep. */
  sigma_max: number | null;
  /** Only null: it stretches the noise levels of flow matching. */
  shift_terminal: null;
}

/** The class's name, keys and defaults. */
export const UNIPC_CLASS: ConfigClass<UniPCMultistepConfigKeys> = {
  className: "UniPCMultistepScheduler",
  fields: {
    ...exponentialFields,
    solver_order: integer(2, { max: MAX_TRAIN_TIMESTEPS }),
    predict_x0: boolean(true),
    // Names of DPMSolver's and DEIS's configs, which diffusers replaces too.
    solver_type: renamed(oneOf("bh2", ["bh1", "bh2"]), { midpoint: "bh2", heun: "bh2", logrho: "bh2" }),
    lower_order_final: boolean(true),
    disable_corrector: stepsField(),
    solver_p: only(null),
    final_sigmas_type: oneOf("zero", ["zero", "sigma_min"]),
    rescale_betas_zero_snr: boolean(false),
    ...shiftingFields,
    sigma_min: nullable(float(0, { above: 0 })),
    sigma_max: nullable(float(0, { above: 0 })),
    shift_terminal: only(null),
  },
};

/**
 * Denoise by the unified predictor-corrector: a multistep predictor of order p, and a corrector that makes each step one order better
 * with the network's next evaluation, which the run needs anyway. N steps evaluate the network N times.
 *
 * | variable | paper |
 * |---|---|
 * | `level` | alpha_t, sigma_t, lambda_t |
 * | `ratios` | r_m |
 * | `differences` | D_m / r_m |
 * | `weights.matrix`, `weights.target` | R_p(h), phi_p(h) / B(h) |
 * | `solution` | a_p |
 *
 * diffusers returns no `predOriginalSample`; this one is the clean sample that the step's model means.
 * @see https://arxiv.org/abs/2302.04867 algorithms 1 and 2, diffusers.UniPCMultistepScheduler
 */
export class UniPCMultistepScheduler extends ExponentialScheduler<UniPCMultistepConfigKeys> {
  static readonly kind = UNIPC_CLASS;
  /** x of the last step, corrected; its update is corrected by the next step. */
  #lastSample: Tensor | undefined;
  /** The order of the last step's update. */
  #lastOrder = 0;

  /**
   * Make a scheduler of a config's keys; those left out have diffusers' defaults.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for an unknown key; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a value
   */
  constructor(config: GivenConfig<UniPCMultistepConfigKeys> = {}) {
    super(UNIPC_CLASS, config);
  }

  /** @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming the timestep, where diffusers goes on with NaN or fails */
  override checkSteps(options?: StepOptions): void {
    checkOptions(options, ["eta", "generator"], "UniPCMultistepScheduler.checkSteps");
    this.checkLevels();
    this.checkFirstTimestep();
    const { solver_type: type, predict_x0: followsClean, solver_order: most } = this.config;
    for (const [i] of this.timesteps.entries()) {
      const [level, next] = [this.levelAt(i), this.levelAt(i + 1)];
      const order = this.#orderAt(i, i);
      // A step of length 0 leaves the sample as it is; only updates that divide by its length cannot take it.
      const stands = next === level && (most === 1 || (order < 3 && i === this.timesteps.length - 1));
      if (!(next < level || stands)) throw this.cannotStep(i, "the noise level does not fall; take fewer steps");
      if (next > 0) continue;
      if (!followsClean || type === "bh1")
        throw unsupported(
          `final_sigmas_type with ${followsClean ? 'solver_type "bh1"' : "predict_x0 false"}`,
          '"sigma_min"',
          "zero",
        );
      if (order > 1)
        throw this.cannotStep(
          i,
          "the noise level falls to 0, which an update of a higher order cannot reach; take lower_order_final",
        );
    }
  }

  protected override makeTables(): NoiseTables {
    return tabulateFiniteNoise(this.config);
  }

  protected override lastLevel(levels?: readonly number[]): number {
    if (this.config.final_sigmas_type === "zero") return 0;
    return levels?.at(-1) ?? this.table[0] ?? NaN;
  }

  /** The order of a step's predictor. @param known how many steps went before it */
  #orderAt(index: number, known: number): number {
    const { solver_order: most, lower_order_final: lowers } = this.config;
    return Math.min(most, lowers ? this.timesteps.length - index : most, known + 1);
  }

  protected override takeStep(
    torch: Arithmetic,
    { index, modelOutput, sample: given }: StepInput,
    options: StepOptions | undefined,
  ): TakenStep {
    checkOptions(options, ["eta", "generator"], "UniPCMultistepScheduler.step");
    const { solver_order: most, predict_x0: followsClean, disable_corrector: uncorrected } = this.config;
    const levels = Array.from({ length: Math.min(most, this.history.length) + 2 }, (_, i) => index + 1 - i).map((at) =>
      levelOf(torch, this.levelAt(at)),
    );
    const [, level] = levels as [DPMLevel, DPMLevel];

    const solver = { followsClean, solverType: this.config.solver_type };

    // 1. What the solver follows, the clean sample or the noise
    const { model, predOriginalSample } = followsClean
      ? this.cleanModel(torch, modelOutput, given, level)
      : this.noiseModel(torch, modelOutput, given, level);

    // 2. Correct the sample that the last step predicted, now that the model there is known
    const last = uncorrected.includes(index - 1) ? undefined : this.#lastSample;
    const sample = last
      ? unipcUpdate(torch, {
          ...solver,
          levels: levels.slice(1),
          models: this.history.slice(0, this.#lastOrder),
          sample: last,
          reached: model,
        })
      : given;

    // 3. Predict the next one
    const order = this.#orderAt(index, this.history.length);
    const models = [model, ...this.history.slice(0, order - 1)];
    const prevSample = unipcUpdate(torch, { ...solver, levels, models, sample });

    this.remember(model, most);
    this.#lastSample?.dispose();
    this.#lastSample = keep(sample);
    this.#lastOrder = order;
    return { prevSample, predOriginalSample };
  }

  protected override forget(): void {
    super.forget();
    this.#lastSample?.dispose();
    this.#lastSample = undefined;
    this.#lastOrder = 0;
  }

  protected override adopt(other: this): void {
    super.adopt(other);
    this.#lastSample = other.#lastSample && keep(other.#lastSample);
    this.#lastOrder = other.#lastOrder;
  }
}

/** A list of steps, which may be empty. */
function stepsField(): Field<readonly number[]> {
  const step = integer(0, { min: 0, max: MAX_TRAIN_TIMESTEPS });
  return {
    fallback: [],
    isFloat: false,
    check: (value, key) => {
      if (!Array.isArray(value) || value.length > MAX_TRAIN_TIMESTEPS)
        throw unsupported(key, `a list of at most ${MAX_TRAIN_TIMESTEPS} integers`, value);
      return value.map((item: unknown, i) => step.check(item, `${key}[${i}]`));
    },
  };
}
