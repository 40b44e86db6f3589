import type { ConfigClass } from "../config/config.js";
import { boolean, integer, oneOf, renamed, unsupported } from "../config/fields.js";
import { type Tensor } from "../torch/tensor.js";
import { checkOptions } from "../validate.js";
import type { GivenConfig, StepInput, TakenStep } from "./base.js";
import type { SetTimestepsOptions, StepOptions } from "./contract.js";
import type { Arithmetic } from "./shared/arithmetic.js";
import { checkStepGenerator, keep } from "./shared/checks.js";
import { type DPMAlgorithm, type DPMSolverType, levelOf, singlestepUpdate } from "./shared/dpm-updates.js";
import {
  ExponentialScheduler,
  integratorFields,
  type IntegratorKeys,
  lambdaField,
  varianceTypeField,
  shiftingFields,
  type ShiftingKeys,
} from "./shared/exponential-scheduler.js";
import { drawLike } from "./shared/noise.js";
import type { SpacingKeys } from "./shared/spacing.js";

/** What the singlestep solver follows; it has no update for the noise along the SDE. */
export type DPMSinglestepAlgorithm = Exclude<DPMAlgorithm, "sde-dpmsolver">;

/**
 * The keys of a `DPMSolverSinglestepScheduler`'s `scheduler_config.json`. Timesteps are always spread evenly: diffusers' class has no
 * `timestep_spacing`.
 */
export interface DPMSolverSinglestepConfigKeys extends IntegratorKeys, ShiftingKeys {
  /** How many evaluations make a block, and the order of the block, from 1 to 3; default 2. */
  solver_order: number;
  /** Default `"dpmsolver++"`. `"dpmsolver"` needs `final_sigmas_type` `"sigma_min"`, and steps without thresholding only. */
  algorithm_type: DPMSinglestepAlgorithm;
  /** The form of the updates of order 2 and 3; default `"midpoint"`. */
  solver_type: DPMSolverType;
  /**
   * Take the last step of a run of whole blocks with order 1; default false. Where the run ends without noise that is done in any case.
   * diffusers sets this key to true in a run that is no multiple of `solver_order`, and keeps it; here the config stays as it is.
   */
  lower_order_final: boolean;
  /** Where the run ends: without noise, or at the noise of timestep 0; default `"zero"`. */
  final_sigmas_type: "zero" | "sigma_min";
  /** Skip timesteps whose log(alpha / sigma) is below this; default -Infinity. */
  lambda_min_clipped: number;
  /** Unused; networks that predict a variance too (`"learned"`, `"learned_range"`) are not run. Default null. */
  variance_type: string | null;
}

const ALGORITHMS: readonly DPMSinglestepAlgorithm[] = ["dpmsolver", "dpmsolver++", "sde-dpmsolver++"];

/** The class's name, keys and defaults. */
export const DPM_SINGLESTEP_CLASS: ConfigClass<DPMSolverSinglestepConfigKeys> = {
  className: "DPMSolverSinglestepScheduler",
  fields: {
    ...integratorFields,
    solver_order: integer(2, { min: 1, max: 3 }),
    // Names of DEIS's and UniPC's configs, which diffusers replaces too.
    algorithm_type: renamed(oneOf("dpmsolver++", ALGORITHMS), { deis: "dpmsolver++" }),
    solver_type: renamed(oneOf("midpoint", ["midpoint", "heun"]), {
      logrho: "midpoint",
      bh1: "midpoint",
      bh2: "midpoint",
    }),
    lower_order_final: boolean(false),
    final_sigmas_type: oneOf("zero", ["zero", "sigma_min"]),
    lambda_min_clipped: lambdaField(),
    variance_type: varianceTypeField,
    ...shiftingFields,
  },
};

/**
 * Denoise by the singlestep DPM-Solver or DPM-Solver++ of order 1, 2 or 3. The steps come in blocks of as many evaluations as the order:
 * each of them goes on from where the block began, with order 1, 2 and 3, and the last one ends the block.
 *
 * | variable | paper |
 * |---|---|
 * | `level` | alpha_t, sigma_t, lambda_t |
 * | `model` | x_theta for `++`, else epsilon_theta |
 * | `begin` | x at the beginning of the block |
 *
 * diffusers returns no `predOriginalSample`; this one is the clean sample that the step's model means.
 * @see https://arxiv.org/abs/2206.00927 algorithms 1 and 2, https://arxiv.org/abs/2211.01095 algorithm 1,
 *   diffusers.DPMSolverSinglestepScheduler
 */
export class DPMSolverSinglestepScheduler extends ExponentialScheduler<DPMSolverSinglestepConfigKeys> {
  static readonly kind = DPM_SINGLESTEP_CLASS;
  #begin: Tensor | undefined;

  /**
   * Make a scheduler of a config's keys; those left out have diffusers' defaults.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for an unknown key; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a value
   */
  constructor(config: GivenConfig<DPMSolverSinglestepConfigKeys> = {}) {
    super(DPM_SINGLESTEP_CLASS, config);
    const { algorithm_type: algorithm, final_sigmas_type: final } = this.config;
    if (algorithm === "dpmsolver" && final === "zero")
      throw unsupported(`final_sigmas_type with algorithm_type "${algorithm}"`, '"sigma_min"', final);
  }

  /** The order of each step of the schedule. @see diffusers.DPMSolverSinglestepScheduler.order_list */
  get orderList(): readonly number[] {
    return this.timesteps.map((_, i) => this.#orderAt(i));
  }

  /** @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming the timestep, where diffusers goes on with NaN or fails */
  override checkSteps(options?: StepOptions): void {
    checkOptions(options, ["eta", "generator"], "DPMSolverSinglestepScheduler.checkSteps");
    this.#checkThresholding();
    this.checkLevels();
    this.checkFirstTimestep();
    for (const [i, order] of this.orderList.entries()) {
      if (this.levelAt(i + 1) > this.levelAt(i))
        throw this.cannotStep(i, "the noise level does not fall; take fewer steps");
      if (this.levelAt(i + 1) === 0 && (order > 1 || !this.config.algorithm_type.endsWith("++")))
        throw this.cannotStep(i, "the noise level falls to 0, which the update cannot reach");
      // The midpoint form of order 3 leaves the middle model out.
      const usesBefore = order === 2 || (order === 3 && this.config.solver_type === "heun");
      if (usesBefore && this.levelAt(i) === this.levelAt(i - 1))
        throw this.cannotStep(i, "its noise level is that of the step before; take fewer steps");
    }
  }

  /** diffusers looks thresholds of the noise up by a timestep that it no longer has, and fails. */
  #checkThresholding(): void {
    const { algorithm_type: algorithm, thresholding } = this.config;
    if (algorithm === "dpmsolver" && thresholding)
      throw unsupported('thresholding with algorithm_type "dpmsolver" to step', "false", thresholding);
  }

  protected override get accepts(): readonly (keyof SetTimestepsOptions)[] {
    return ["timesteps"];
  }

  /** Even: a `timestep_spacing` in the config is another class's. */
  protected override get spacing(): SpacingKeys {
    return { timestep_spacing: "linspace", steps_offset: 0 };
  }

  protected override lastLevel(): number {
    return this.config.final_sigmas_type === "zero" ? 0 : (this.table[0] ?? NaN);
  }

  protected override get leastLambda(): number {
    return this.config.lambda_min_clipped;
  }

  #orderAt(index: number): number {
    const { solver_order: most, lower_order_final: lowers, final_sigmas_type: final } = this.config;
    const total = this.timesteps.length;
    const endsLow = final === "zero" || (lowers && total % most === 0);
    return index === total - 1 && endsLow ? 1 : (index % most) + 1;
  }

  protected override takeStep(
    torch: Arithmetic,
    { index, modelOutput, sample }: StepInput,
    options: StepOptions | undefined,
  ): TakenStep {
    checkOptions(options, ["eta", "generator"], "DPMSolverSinglestepScheduler.step");
    checkStepGenerator(options?.generator, modelOutput);
    this.#checkThresholding();
    const { algorithm_type: algorithm, solver_type: solverType, solver_order: most } = this.config;
    const level = levelOf(torch, this.levelAt(index));

    // 1. What the solver follows, the clean sample or the noise
    const { model, predOriginalSample } = algorithm.endsWith("++")
      ? this.cleanModel(torch, modelOutput, sample, level)
      : this.noiseModel(torch, modelOutput, sample, level);

    // 2. Where the block began; a run that begins in the middle of one begins a block of its own
    const order = Math.min(this.#orderAt(index), this.history.length + 1);
    const begin = (order > 1 ? this.#begin : undefined) ?? sample;
    if (begin === sample) this.#beginAt(sample);

    // 3. The update from there
    const older = Array.from({ length: order - 1 }, (_, i) => levelOf(torch, this.levelAt(index - 1 - i)));
    const prevSample = singlestepUpdate(torch, {
      algorithm,
      solverType,
      levels: [levelOf(torch, this.levelAt(index + 1)), level, ...older],
      models: [model, ...this.history.slice(0, order - 1)],
      sample: begin,
      noise: algorithm.startsWith("sde") ? torch.own(drawLike(model, options?.generator)) : undefined,
    });

    this.remember(model, most);
    return { prevSample, predOriginalSample };
  }

  #beginAt(sample: Tensor): void {
    this.#begin?.dispose();
    this.#begin = keep(sample);
  }

  protected override forget(): void {
    super.forget();
    this.#begin?.dispose();
    this.#begin = undefined;
  }

  protected override adopt(other: this): void {
    super.adopt(other);
    if (other.#begin) this.#begin = keep(other.#begin);
  }
}
