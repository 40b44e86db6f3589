import type { ConfigClass } from "../config/config.js";
import { boolean, type Field, float, integer, oneOf, only, renamed, unsupported } from "../config/fields.js";
import { LatentDiffusionError } from "../errors.js";
import { Tensor } from "../torch/tensor.js";
import { checkNumber, checkOptions, unexpected } from "../validate.js";
import { type GivenConfig, type Schedule, type ScheduleRequest, type StepInput, type TakenStep } from "./base.js";
import type { SetTimestepsOptions, StepOptions } from "./contract.js";
import { checkStepGenerator, keep, unsolvable } from "./shared/checks.js";
import { type Arithmetic, compute } from "./shared/arithmetic.js";
import {
  type NoiseTables,
  predictionField,
  type PredictionType,
  tabulateNoise,
  trainingFields,
  type TrainingKeys,
} from "./shared/betas.js";
import { type DPMAlgorithm, type DPMLevel, type DPMSolverType, dpmUpdate, levelOf } from "./shared/dpm-updates.js";
import { drawLike } from "./shared/noise.js";
import { limitsOf, SigmaScheduler, upcast, withLast } from "./shared/sigma-scheduler.js";
import {
  interpolate,
  logTable,
  sigmaFields,
  type SigmaKeys,
  type SigmaSpread,
  sigmaToTimestep,
  spreadOf,
  spreadSigmas,
} from "./shared/sigmas.js";
import { roundHalfToEven, spaceIntervals, spacingFields, type SpacingKeys } from "./shared/spacing.js";
import { thresholdSample } from "./shared/thresholding.js";

/** The keys of a `DPMSolverMultistepScheduler`'s `scheduler_config.json`. `timestep_spacing` is `"linspace"` by default. */
export interface DPMSolverMultistepConfigKeys extends TrainingKeys, SpacingKeys, SigmaKeys {
  /** The order of the updates, from 1 to 3; default 2. */
  solver_order: number;
  /** Default `"epsilon"`. */
  prediction_type: PredictionType;
  /** Threshold the predicted clean sample dynamically; default false. @see https://arxiv.org/abs/2205.11487 section 2.3 */
  thresholding: boolean;
  /** The quantile of the magnitudes that is the threshold, in [0, 1]; default 0.995. */
  dynamic_thresholding_ratio: number;
  /** The largest threshold, at least 1; default 1. */
  sample_max_value: number;
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
  /** Only false: the networks of this pipeline are not trained by flow matching. */
  use_flow_sigmas: boolean;
  /** Only 1, its default. */
  flow_shift: number;
  /** Where the run ends: without noise, or at the noise of timestep 0; default `"zero"`. */
  final_sigmas_type: "zero" | "sigma_min";
  /** Skip timesteps whose log(alpha / sigma) is below this; default -Infinity. */
  lambda_min_clipped: number;
  /** Only null: networks that predict a variance too are not run. */
  variance_type: null;
  /** Rescale the betas so that the last timestep is nearly pure noise; default false. @see https://arxiv.org/abs/2305.08891 */
  rescale_betas_zero_snr: boolean;
  /** Only false, as {@link use_flow_sigmas}. */
  use_dynamic_shifting: boolean;
  /** Unused without shifting. */
  time_shift_type: "exponential";
}

const ALGORITHMS: readonly DPMAlgorithm[] = ["dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++"];

/** The class's name, keys and defaults. */
export const DPM_MULTISTEP_CLASS: ConfigClass<DPMSolverMultistepConfigKeys> = {
  className: "DPMSolverMultistepScheduler",
  fields: {
    ...trainingFields(),
    solver_order: integer(2, { min: 1, max: 3 }),
    prediction_type: predictionField,
    thresholding: boolean(false),
    dynamic_thresholding_ratio: float(0.995, { min: 0, max: 1 }),
    sample_max_value: float(1, { min: 1 }),
    // Names of DEIS's and UniPC's configs, which diffusers replaces too.
    algorithm_type: renamed(oneOf("dpmsolver++", ALGORITHMS), { deis: "dpmsolver++" }),
    solver_type: renamed(oneOf("midpoint", ["midpoint", "heun"]), {
      logrho: "midpoint",
      bh1: "midpoint",
      bh2: "midpoint",
    }),
    lower_order_final: boolean(true),
    euler_at_final: boolean(false),
    ...sigmaFields,
    use_lu_lambdas: boolean(false),
    use_flow_sigmas: only(false),
    flow_shift: { ...oneOf<number>(1, [1]), isFloat: true },
    final_sigmas_type: oneOf("zero", ["zero", "sigma_min"]),
    lambda_min_clipped: lambdaField(),
    variance_type: only(null),
    ...spacingFields("linspace"),
    rescale_betas_zero_snr: boolean(false),
    use_dynamic_shifting: only(false),
    time_shift_type: oneOf("exponential", ["exponential"]),
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
export class DPMSolverMultistepScheduler extends SigmaScheduler<DPMSolverMultistepConfigKeys, StepOptions> {
  static readonly kind = DPM_MULTISTEP_CLASS;
  /** The models of the last steps, the newest first. */
  #history: Tensor[] = [];

  /**
   * Make a scheduler of a config's keys; those left out have diffusers' defaults.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for an unknown key; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a value
   */
  constructor(config: GivenConfig<DPMSolverMultistepConfigKeys> = {}) {
    super(DPM_MULTISTEP_CLASS, config);
    spreadOf(this.config);
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

  /** 1: every schedule ends at variance 1. */
  override get initNoiseSigma(): number {
    return 1;
  }

  /** Return the sample as it is. */
  override scaleModelInput(sample: Tensor, timestep?: number): Tensor {
    if (!(sample instanceof Tensor)) throw unexpected("a Tensor", "sample", sample);
    if (timestep !== undefined) checkNumber(timestep, "timestep");
    return sample;
  }

  /** @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming the timestep, where diffusers goes on with NaN or fails */
  override checkSteps(options?: StepOptions): void {
    checkOptions(options, ["eta", "generator"], "DPMSolverMultistepScheduler.checkSteps");
    this.checkLevels();
    const { timesteps } = this;
    if (this.beginIndex === undefined && timesteps.length > 1 && timesteps[0] === timesteps[1])
      throw this.#unsolvable(0, "the first two timesteps round to the same number; take fewer steps");
    for (const [i] of timesteps.entries()) {
      const order = this.#orderAt(i, i);
      const [level, next] = [this.levelAt(i), this.levelAt(i + 1)];
      if (next > level || (next === level && !this.#standsStill(i, order)))
        throw this.#unsolvable(i, "the noise level does not fall; take fewer steps");
      if (next === 0 && (order > 1 || !this.#followsClean))
        throw this.#unsolvable(i, "the noise level falls to 0, which the update cannot reach");
    }
  }

  /** Whether a step without a change of the noise level is one that the update and those after it can take. */
  #standsStill(index: number, order: number): boolean {
    const { solver_order: most, solver_type: type } = this.config;
    return most === 1 || (index === this.timesteps.length - 1 && (order === 1 || (order === 2 && type === "midpoint")));
  }

  #unsolvable(index: number, why: string): LatentDiffusionError {
    return unsolvable(this.className, `step ${index}, timestep ${this.timesteps[index]}`, why);
  }

  get #followsClean(): boolean {
    return this.config.algorithm_type.endsWith("++");
  }

  protected override get accepts(): readonly (keyof SetTimestepsOptions)[] {
    return ["timesteps"];
  }

  protected override makeTables(): NoiseTables {
    const { rescale_betas_zero_snr: rescales } = this.config;
    const tables = tabulateNoise(this.config, rescales);
    // Nearly 0, since sigma would be infinite.
    if (rescales) tables.alphasCumprod[tables.alphasCumprod.length - 1] = 2 ** -24;
    return tables;
  }

  protected override schedule({ count, timesteps: given }: ScheduleRequest): Schedule {
    const spread = spreadOf(this.config);
    if (given) this.refuseTimesteps(spread);
    const last = this.config.final_sigmas_type === "zero" ? 0 : (this.table[0] ?? NaN);
    if (spread !== undefined) return this.#spread(spread, count, last);
    const timesteps = given?.map(Math.trunc) ?? this.space(count);
    return { timesteps, sigmas: withLast(interpolate(timesteps, this.table), last) };
  }

  protected override space(count: number): number[] {
    const { num_train_timesteps: total, timestep_spacing: spacing, steps_offset: offset } = this.config;
    const timesteps = spaceIntervals(spacing, total, count, offset, this.#lastTimestep());
    const outside = timesteps.find((t) => t < 0 || t >= total);
    if (outside === undefined && timesteps.length > 0) return timesteps;
    throw new LatentDiffusionError(
      "ERR_CONFIG_UNSUPPORTED",
      `timestep_spacing "${spacing}" with steps_offset ${offset} and ${count} steps visits timestep ${outside ?? "none"}, outside 0 to ${total - 1}; take another number of steps`,
    );
  }

  /** How many training timesteps have a log(alpha / sigma) of at least `lambda_min_clipped`. */
  #lastTimestep(): number {
    const { lambda_min_clipped: least, num_train_timesteps: total } = this.config;
    if (least === -Infinity) return total;
    const lambdas = compute((torch) => {
      const alphas = torch.own(Tensor.from(this.tables.alphasCumprod));
      const sigmas = torch.op("sqrt", torch.rsub(alphas, 1));
      return torch.sub(torch.op("log", torch.op("sqrt", alphas)), torch.op("log", sigmas));
    });
    const below = (lambdas.dataSync() as Float32Array).filter((lambda) => lambda < Math.fround(least)).length;
    lambdas.dispose();
    return total - below;
  }

  /** Spread the levels over the whole table; the timesteps are whole numbers, as diffusers makes them. */
  #spread(spread: SigmaSpread, count: number, last: number): Schedule {
    const limits = spread === "lu" ? {} : limitsOf(this.config);
    const levels = spreadSigmas(spread, [...this.table].reverse(), count, limits);
    const logs = logTable(this.table);
    const rounds = (spread === "karras" || spread === "lu") && this.config.beta_schedule !== "squaredcos_cap_v2";
    const timesteps = levels.map((level) => {
      const timestep = sigmaToTimestep(level, logs);
      return rounds ? roundHalfToEven(timestep) : Math.trunc(timestep);
    });
    return { timesteps, sigmas: withLast(levels, last) };
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
      ? this.#clean(torch, modelOutput, given, level)
      : this.#noise(torch, modelOutput, given, level);

    // 2. The update, in float32
    const sample = upcast(torch, given);
    const noise = algorithm.startsWith("sde") ? torch.own(drawLike(sample, options?.generator)) : undefined;
    const order = this.#orderAt(index, this.#history.length);
    const older = Array.from({ length: order - 1 }, (_, i) => levelOf(torch, this.levelAt(index - 1 - i)));
    const next = dpmUpdate(torch, {
      algorithm,
      solverType,
      levels: [levelOf(torch, this.levelAt(index + 1)), level, ...older],
      models: [model, ...this.#history.slice(0, order - 1)],
      sample,
      noise,
    });

    this.#history.unshift(keep(model));
    while (this.#history.length > most) this.#history.pop()?.dispose();
    return { prevSample: torch.op("to.dtype", next, model.dtype), predOriginalSample };
  }

  /** x_theta, which is the predicted clean sample itself. */
  #clean(torch: Arithmetic, output: Tensor, sample: Tensor, { alpha, sigma }: DPMLevel): Model {
    const predict = (): Tensor => {
      switch (this.config.prediction_type) {
        case "epsilon":
          return torch.div(torch.sub(sample, torch.mul(sigma, output)), alpha);
        case "sample":
          return output;
        case "v_prediction":
          return torch.sub(torch.mul(alpha, sample), torch.mul(sigma, output));
      }
    };
    const predicted = predict();
    const model = this.config.thresholding ? this.#threshold(torch, predicted) : predicted;
    return { model, predOriginalSample: model };
  }

  /** epsilon_theta, and the clean sample that goes with it. */
  #noise(torch: Arithmetic, output: Tensor, sample: Tensor, { alpha, sigma }: DPMLevel): Model {
    const noiseOf = (clean: Tensor): Tensor => torch.div(torch.sub(sample, torch.mul(alpha, clean)), sigma);
    const predict = (): Tensor => {
      switch (this.config.prediction_type) {
        case "epsilon":
          return output;
        case "sample":
          return noiseOf(output);
        case "v_prediction":
          return torch.add(torch.mul(alpha, output), torch.mul(sigma, sample));
      }
    };
    const model = predict();
    const clean = torch.div(torch.sub(sample, torch.mul(sigma, model)), alpha);
    if (!this.config.thresholding) return { model, predOriginalSample: clean };
    const predOriginalSample = this.#threshold(torch, clean);
    return { model: noiseOf(predOriginalSample), predOriginalSample };
  }

  #threshold(torch: Arithmetic, clean: Tensor): Tensor {
    return thresholdSample(torch, clean, this.config.dynamic_thresholding_ratio, this.config.sample_max_value);
  }

  protected override mixNoise(torch: Arithmetic, original: Tensor, noise: Tensor, level: Tensor): Tensor {
    const alpha = torch.op("reciprocal", torch.pow(torch.add(torch.pow(level, 2), 1), 0.5));
    return torch.add(torch.mul(alpha, original), torch.mul(torch.mul(level, alpha), noise));
  }

  protected override forget(): void {
    for (const model of this.#history) model.dispose();
    this.#history = [];
  }

  protected override adopt(other: this): void {
    this.#history = other.#history.map(keep);
  }
}

/** What a step makes of the network's output. */
interface Model {
  readonly model: Tensor;
  readonly predOriginalSample: Tensor;
}

/** A number or -Infinity. */
function lambdaField(): Field<number> {
  const finite = float(0);
  return {
    fallback: -Infinity,
    isFloat: true,
    check: (value, key) => (value === -Infinity ? value : finite.check(value, key)),
  };
}
