import type { ConfigClass } from "../config/config.js";
import { boolean, integer, oneOf, only, unsupported } from "../config/fields.js";
import type { Tensor } from "../torch/tensor.js";
import { checkOptions, unexpected } from "../validate.js";
import type { StepInput, TakenStep } from "./base.js";
import { COMPATIBLE_CLASSES, type GivenConfig } from "./configured.js";
import type { StepOptions } from "./contract.js";
import { adamsUpdate, type AdamsUpdate, MAX_ADAMS_ORDER } from "./shared/adams-updates.js";
import type { Arithmetic } from "./shared/arithmetic.js";
import { checkStepGenerator, keep } from "./shared/checks.js";
import { type DPMLevel, levelOf } from "./shared/dpm-updates.js";
import {
  exponentialFields,
  type ExponentialKeys,
  ExponentialScheduler,
  lambdaField,
  varianceTypeField,
} from "./shared/exponential-scheduler.js";
import { addNoise } from "./shared/forward-process.js";
import { drawLike } from "./shared/noise.js";

/** The keys of an `SASolverScheduler`'s `scheduler_config.json`. `timestep_spacing` is `"linspace"` by default. */
export interface SASolverConfigKeys extends ExponentialKeys {
  /** How many models the predictor goes through, from 1 to 4; default 2. */
  predictor_order: number;
  /** How many models the corrector goes through, from 1 to 4; default 2. */
  corrector_order: number;
  /** Only null, as a function does not fit into a file: see {@link SASolverScheduler.tauFunc}. */
  tau_func: null;
  /** What the solver follows; default `"data_prediction"`. */
  algorithm_type: "data_prediction" | "noise_prediction";
  /** Lower the order towards the end of a run; default true. */
  lower_order_final: boolean;
  /** Skip timesteps whose log(alpha / sigma) is below this; default -Infinity. */
  lambda_min_clipped: number;
  /** Unused; networks that predict a variance too (`"learned"`, `"learned_range"`) are not run. Default null. */
  variance_type: string | null;
}

/** The class's name, keys and defaults. */
export const SA_SOLVER_CLASS: ConfigClass<SASolverConfigKeys> = {
  className: "SASolverScheduler",
  fields: {
    ...exponentialFields,
    predictor_order: integer(2, { min: 1, max: MAX_ADAMS_ORDER }),
    corrector_order: integer(2, { min: 1, max: MAX_ADAMS_ORDER }),
    tau_func: only(null),
    algorithm_type: oneOf("data_prediction", ["data_prediction", "noise_prediction"]),
    lower_order_final: boolean(true),
    lambda_min_clipped: lambdaField(),
    variance_type: varianceTypeField,
  },
};

/** How stochastic a step is: 0 follows the ODE, 1 the SDE. */
export type TauFunction = (timestep: number) => number;

/** What the next step's corrector needs of a step. */
interface LastStep {
  /** x of the step, corrected. */
  readonly sample: Tensor;
  readonly noise: Tensor;
  readonly tau: number;
  readonly correctorOrder: number;
}

/**
 * Denoise by the stochastic Adams solver: an Adams-Bashforth predictor, and an Adams-Moulton corrector that takes the same step again
 * once the network's output at its end is known. Every step draws noise, which {@link SASolverScheduler.tauFunc} weighs.
 *
 * | variable | paper |
 * |---|---|
 * | `tau` | tau(t) |
 * | `level` | alpha_t, sigma_t, lambda_t |
 * | `model` | x_theta or epsilon_theta |
 *
 * diffusers returns no `predOriginalSample`; this one is the clean sample that the step's model means.
 * @see https://arxiv.org/abs/2309.05019 algorithm 1, diffusers.SASolverScheduler
 */
export class SASolverScheduler extends ExponentialScheduler<SASolverConfigKeys> {
  static readonly kind = SA_SOLVER_CLASS;
  static override readonly compatibles = [...COMPATIBLE_CLASSES, "SASolverScheduler"].sort();
  #tau: TauFunction = (timestep) => (timestep >= 200 && timestep <= 800 ? 1 : 0);
  #last: LastStep | undefined;

  /**
   * Make a scheduler of a config's keys; those left out have diffusers' defaults.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for an unknown key; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a value
   */
  constructor(config: GivenConfig<SASolverConfigKeys> = {}) {
    super(SA_SOLVER_CLASS, config);
    const { algorithm_type: algorithm, thresholding } = this.config;
    if (thresholding && algorithm === "noise_prediction")
      throw unsupported('thresholding with algorithm_type "noise_prediction"', "false", thresholding);
  }

  /** tau(t) by training timestep, a finite number of at least 0. Default: 1 from timestep 200 to 800, else 0. */
  get tauFunc(): TauFunction {
    return this.#tau;
  }

  set tauFunc(tau: TauFunction) {
    if (typeof tau !== "function") throw unexpected("a function", "tauFunc", tau);
    this.#tau = tau;
  }

  /** @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming the timestep, where diffusers goes on with NaN or fails */
  override checkSteps(options?: StepOptions): void {
    checkOptions(options, ["eta", "generator"], "SASolverScheduler.checkSteps");
    this.checkLevels();
    this.checkFirstTimestep();
    for (const [i, timestep] of this.timesteps.entries()) {
      this.#tauAt(timestep);
      const [level, next] = [this.levelAt(i), this.levelAt(i + 1)];
      if (!(next > 0)) throw this.cannotStep(i, "the run ends at the noise of timestep 0, which has none in float32");
      const isLast = i === this.timesteps.length - 1;
      if (next > level || (next === level && !isLast))
        throw this.cannotStep(i, "the noise level does not fall; take fewer steps");
    }
  }

  /** As training does: at any training timesteps, whatever the schedule. */
  override addNoise(originalSamples: Tensor, noise: Tensor, timesteps: number | readonly number[]): Tensor {
    return addNoise(this.tables.alphasCumprod, originalSamples, noise, timesteps);
  }

  protected override lastLevel(levels?: readonly number[]): number {
    return levels?.at(-1) ?? this.table[0] ?? NaN;
  }

  protected override get leastLambda(): number {
    return this.config.lambda_min_clipped;
  }

  protected override takeStep(
    torch: Arithmetic,
    { index, timestep, modelOutput, sample: given }: StepInput,
    options: StepOptions | undefined,
  ): TakenStep {
    const { generator } = checkOptions(options, ["eta", "generator"], "SASolverScheduler.step");
    checkStepGenerator(generator, modelOutput);
    const { predictor_order: predictors, corrector_order: correctors, algorithm_type: algorithm } = this.config;
    const { lower_order_final: lowers } = this.config;
    const followsClean = algorithm === "data_prediction";
    const tau = this.#tauAt(timestep);
    const levels = Array.from({ length: this.history.length + 2 }, (_, i) =>
      levelOf(torch, this.levelAt(index + 1 - i)),
    );
    const [next, level, before = level] = levels as [DPMLevel, DPMLevel, DPMLevel?];
    const lambdas = levels.slice(1).map(({ lambda }) => lambda);

    // 1. What the solver follows, the clean sample or the noise
    const { model, predOriginalSample } = followsClean
      ? this.cleanModel(torch, modelOutput, given, level)
      : this.noiseModel(torch, modelOutput, given, level);
    const models = [model, ...this.history];
    const take = (order: number, rest: Omit<AdamsUpdate, "followsClean" | "models" | "lambdas">): Tensor =>
      adamsUpdate(torch, { followsClean, models: models.slice(0, order), lambdas: lambdas.slice(0, order), ...rest });

    // 2. Correct the sample that the last step predicted, now that the model there is known
    const last = this.#last;
    const sample = last
      ? take(last.correctorOrder, { ...last, from: before, to: level, amendment: followsClean ? corrected : undefined })
      : given;

    // 3. Predict the next one
    const noise = torch.own(drawLike(modelOutput, generator));
    const known = this.history.length;
    const left = lowers ? this.timesteps.length - index : Infinity;
    const order = Math.min(predictors, left, known + 1);
    const prevSample = take(order, {
      tau,
      from: level,
      to: next,
      sample,
      noise,
      amendment: followsClean ? predicted : undefined,
    });

    this.remember(model, Math.max(predictors, correctors - 1));
    this.#forgetLast();
    this.#last = {
      sample: keep(sample),
      noise: keep(noise),
      tau,
      correctorOrder: Math.min(correctors, left + 1, known + 2),
    };
    return { prevSample, predOriginalSample };
  }

  #tauAt(timestep: number): number {
    const tau: unknown = this.#tau(timestep);
    if (typeof tau === "number" && Number.isFinite(tau) && tau >= 0) return tau;
    throw unexpected("a finite number of at least 0", `tauFunc(${timestep})`, tau);
  }

  #forgetLast(): void {
    this.#last?.sample.dispose();
    this.#last?.noise.dispose();
    this.#last = undefined;
  }

  protected override forget(): void {
    super.forget();
    this.#forgetLast();
  }

  protected override adopt(other: this): void {
    super.adopt(other);
    this.#tau = other.#tau;
    this.#last = other.#last && { ...other.#last, sample: keep(other.#last.sample), noise: keep(other.#last.noise) };
  }
}

/** The share of order 2 that both amendments have: (h (1 + tau^2) - 1 + e^(-h (1 + tau^2))). */
function remainder(torch: Arithmetic, scale: number, h: Tensor): Tensor {
  const fall = torch.op("exp", torch.mul(torch.op("neg", h), scale));
  return torch.add(torch.sub(torch.mul(h, scale), 1), fall);
}

/** What the authors' code, and diffusers, add to the predictor of order 2. */
function predicted(torch: Arithmetic, { tau, to, lambdas }: AdamsUpdate, h: Tensor): Tensor {
  const scale = 1 + tau ** 2;
  const [newer = h, older = h] = lambdas;
  const rest = torch.div(remainder(torch, scale, h), scale ** 2);
  const bend = torch.sub(torch.div(torch.pow(h, 2), 2), rest);
  const growth = torch.op("exp", torch.mul(to.lambda, scale));
  return torch.div(torch.mul(growth, bend), torch.sub(newer, older));
}

/** What the authors' code, and diffusers, add to the corrector of order 2. */
function corrected(torch: Arithmetic, { tau, to }: AdamsUpdate, h: Tensor): Tensor {
  const scale = 1 + tau ** 2;
  const rest = torch.div(remainder(torch, scale, h), torch.mul(h, scale ** 2));
  const bend = torch.sub(torch.div(h, 2), rest);
  return torch.mul(torch.op("exp", torch.mul(to.lambda, scale)), bend);
}
