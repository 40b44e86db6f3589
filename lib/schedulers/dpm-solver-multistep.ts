import type { ConfigClass } from "../config/config.js";
import { boolean, integer, oneOf, renamed, unsupported } from "../config/fields.js";
import type { Tensor } from "../torch/tensor.js";
import { checkOptions } from "../validate.js";
import type { GivenConfig, StepInput, TakenStep } from "./base.js";
import type { SetTimestepsOptions, StepOptions } from "./contract.js";
import { checkStepGenerator } from "./shared/checks.js";
import type { Arithmetic } from "./shared/arithmetic.js";
import { type NoiseTables, tabulateFiniteNoise } from "./shared/betas.js";
import { type DPMAlgorithm, type DPMLevel, type DPMSolverType, dpmUpdate, levelOf } from "./shared/dpm-updates.js";
import {
  exponentialFields,
  type ExponentialKeys,
  ExponentialScheduler,
  lambdaField,
  varianceTypeField,
  shiftingFields,
  type ShiftingKeys,
  type SolverModel,
} from "./shared/exponential-scheduler.js";
import { drawLike } from "./shared/noise.js";
import { upcast } from "./shared/sigma-scheduler.js";
import type { SigmaSpread } from "./shared/sigmas.js";

/** The keys of a `DPMSolverMultistepScheduler`'s `scheduler_config.json`. `timestep_spacing` is `"linspace"` by default. */
export interface DPMSolverMultistepConfigKeys extends ExponentialKeys, ShiftingKeys {
  /** The order of the updates, from 1 to 3; default 2. */
  solver_order: number;
  /** Default `"dpmsolver++"`. `"dpmsolver"` and `"sde-dpmsolver"` need `final_sigmas_type` `"sigma_min"`; the latter has no order 3. */
  algorithm_type: DPMAlgorithm;
  /** The second term of updates of order 2; default `"midpoint"`. */
  solver_type: DPMSolverType;
  /** Lower the order in the last steps of a run of fewer than 15; default true. */
  lower_order_final: boolean;
  /** Take the last step with order 1; default false. */
  euler_at_final: boolean;
  /** Spread the noise levels evenly in log(alpha / sigma); default false. */
  use_lu_lambdas: boolean;
  /** Where the run ends: without noise, or at the noise of timestep 0; default `"zero"`. */
  final_sigmas_type: "zero" | "sigma_min";
  /** Skip timesteps whose log(alpha / sigma) is below this; default -Infinity. */
  lambda_min_clipped: number;
  /** Unused; networks that predict a variance too (`"learned"`, `"learned_range"`) are not run. Default null. */
  variance_type: string | null;
  /** Rescale the betas so that the last timestep is nearly pure noise; default false. @see https://arxiv.org/abs/2305.08891 */
  rescale_betas_zero_snr: boolean;
}

const ALGORITHMS: readonly DPMAlgorithm[] = ["dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++"];

/** The class's name, keys and defaults. */
export const DPM_MULTISTEP_CLASS: ConfigClass<DPMSolverMultistepConfigKeys> = {
  className: "DPMSolverMultistepScheduler",
  fields: {
    ...exponentialFields,
    solver_order: integer(2, { min: 1, max: 3 }),
    // Names of DEIS's and UniPC's configs, which diffusers replaces too.
    algorithm_type: renamed(oneOf("dpmsolver++", ALGORITHMS), { deis: "dpmsolver++" }),
    solver_type: renamed(oneOf("midpoint", ["midpoint", "heun"]), {
      logrho: "midpoint",
      bh1: "midpoint",
      bh2: "midpoint",
    }),
    lower_order_final: boolean(true),
    euler_at_final: boolean(false),
    use_lu_lambdas: boolean(false),
    final_sigmas_type: oneOf("zero", ["zero", "sigma_min"]),
    lambda_min_clipped: lambdaField(),
    variance_type: varianceTypeField,
    rescale_betas_zero_snr: boolean(false),
    ...shiftingFields,
  },
};

/**
 * Denoise by the multistep DPM-Solver or DPM-Solver++ of order 1, 2 or 3, along the ODE or the SDE: one evaluation of the network for
 * each step, the higher terms come from the steps before.
 *
 * | variable | paper |
 * |---|---|
 * | `level` | alpha_t, sigma_t, lambda_t |
 * | `model` | x_theta for `++`, else epsilon_theta |
 *
 * diffusers returns no `predOriginalSample`; this one is the clean sample that the step's model means.
 * @see https://arxiv.org/abs/2206.00927, https://arxiv.org/abs/2211.01095 algorithm 2, diffusers.DPMSolverMultistepScheduler
 */
export class DPMSolverMultistepScheduler extends ExponentialScheduler<DPMSolverMultistepConfigKeys> {
  static readonly kind = DPM_MULTISTEP_CLASS;

  /**
   * Make a scheduler of a config's keys; those left out have diffusers' defaults.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for an unknown key; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a value
   */
  constructor(config: GivenConfig<DPMSolverMultistepConfigKeys> = {}) {
    super(DPM_MULTISTEP_CLASS, config);
    const { algorithm_type: algorithm, final_sigmas_type: final, solver_order: order } = this.config;
    if (!algorithm.endsWith("++") && final === "zero")
      throw unsupported(`final_sigmas_type with algorithm_type "${algorithm}"`, '"sigma_min"', final);
    if (algorithm === "sde-dpmsolver" && order === 3)
      throw unsupported(
        'solver_order with algorithm_type "sde-dpmsolver", which has no update of order 3,',
        "1 or 2",
        3,
      );
  }

  /** @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming the timestep, where diffusers goes on with NaN or fails */
  override checkSteps(options?: StepOptions): void {
    checkOptions(options, ["eta", "generator"], "DPMSolverMultistepScheduler.checkSteps");
    this.checkLevels();
    this.checkFirstTimestep();
    for (const [i] of this.timesteps.entries()) {
      const order = this.#orderAt(i, i);
      const [level, next] = [this.levelAt(i), this.levelAt(i + 1)];
      if (next > level || (next === level && !this.#standsStill(i, order)))
        throw this.cannotStep(i, "the noise level does not fall; take fewer steps");
      if (next === 0 && (order > 1 || !this.#followsClean))
        throw this.cannotStep(i, "the noise level falls to 0, which the update cannot reach");
    }
  }

  /** Whether a step without a change of the noise level is one that the update and those after it can take. */
  #standsStill(index: number, order: number): boolean {
    const { solver_order: most, solver_type: type } = this.config;
    return most === 1 || (index === this.timesteps.length - 1 && (order === 1 || (order === 2 && type === "midpoint")));
  }

  get #followsClean(): boolean {
    return this.config.algorithm_type.endsWith("++");
  }

  protected override get accepts(): readonly (keyof SetTimestepsOptions)[] {
    return ["timesteps"];
  }

  protected override makeTables(): NoiseTables {
    return tabulateFiniteNoise(this.config);
  }

  protected override lastLevel(): number {
    return this.config.final_sigmas_type === "zero" ? 0 : (this.table[0] ?? NaN);
  }

  protected override roundsTimesteps(spread: SigmaSpread): boolean {
    return (spread === "karras" || spread === "lu") && this.config.beta_schedule !== "squaredcos_cap_v2";
  }

  protected override get leastLambda(): number {
    return this.config.lambda_min_clipped;
  }

  /** The order of a step's update. @param known how many steps went before it */
  #orderAt(index: number, known: number): number {
    const {
      solver_order: most,
      lower_order_final: lowers,
      euler_at_final: euler,
      final_sigmas_type: final,
    } = this.config;
    const total = this.timesteps.length;
    const isShort = lowers && total < 15;
    if (index === total - 1 && (euler || isShort || final === "zero")) return 1;
    return Math.min(most, known + 1, index === total - 2 && isShort ? 2 : 3);
  }

  protected override takeStep(
    torch: Arithmetic,
    { index, modelOutput, sample: given }: StepInput,
    options: StepOptions | undefined,
  ): TakenStep {
    checkOptions(options, ["eta", "generator"], "DPMSolverMultistepScheduler.step");
    checkStepGenerator(options?.generator, modelOutput);
    const { algorithm_type: algorithm, solver_type: solverType, solver_order: most } = this.config;
    const level = levelOf(torch, this.levelAt(index));

    // 1. What the solver follows, the clean sample or the noise
    const { model, predOriginalSample } = this.#followsClean
      ? this.cleanModel(torch, modelOutput, given, level)
      : this.#noise(torch, modelOutput, given, level);

    // 2. The update, in float32
    const sample = upcast(torch, given);
    const noise = algorithm.startsWith("sde") ? torch.own(drawLike(sample, options?.generator)) : undefined;
    const order = this.#orderAt(index, this.history.length);
    const older = Array.from({ length: order - 1 }, (_, i) => levelOf(torch, this.levelAt(index - 1 - i)));
    const next = dpmUpdate(torch, {
      algorithm,
      solverType,
      levels: [levelOf(torch, this.levelAt(index + 1)), level, ...older],
      models: [model, ...this.history.slice(0, order - 1)],
      sample,
      noise,
    });

    this.remember(model, most);
    return { prevSample: torch.op("to.dtype", next, model.dtype), predOriginalSample };
  }

  /** epsilon_theta, and the clean sample that goes with it, both thresholded where the config says so. */
  #noise(torch: Arithmetic, output: Tensor, sample: Tensor, level: DPMLevel): SolverModel {
    const plain = this.noiseModel(torch, output, sample, level);
    if (!this.config.thresholding) return plain;
    const predOriginalSample = this.threshold(torch, plain.predOriginalSample);
    return { model: this.noiseOf(torch, predOriginalSample, sample, level), predOriginalSample };
  }
}
