import type { ConfigClass } from "../config/config.js";
import { boolean, float, nullable, oneOf } from "../config/fields.js";
import { LatentDiffusionError } from "../errors.js";
import { checkNumber, checkOptions } from "../validate.js";
import { type GivenConfig, type Schedule, type ScheduleRequest, type StepInput, type TakenStep } from "./base.js";
import type { SetTimestepsOptions, StepOptions } from "./contract.js";
import { checkStepGenerator } from "./shared/checks.js";
import { type Arithmetic, compute } from "./shared/arithmetic.js";
import {
  type NoiseTables,
  predictionField,
  type PredictionType,
  tabulateFiniteNoise,
  trainingFields,
} from "./shared/betas.js";
import type { TrainingKeys } from "./shared/betas.js";
import { drawLike } from "./shared/noise.js";
import { SigmaScheduler, upcast, withLast } from "./shared/sigma-scheduler.js";
import { checkSigmas, logTable, sigmaFields, type SigmaKeys, sigmaToTimestep, spreadOf } from "./shared/sigmas.js";
import { spacingFields, type SpacingKeys } from "./shared/spacing.js";

/** The keys of an `EulerDiscreteScheduler`'s `scheduler_config.json`. `timestep_spacing` is `"linspace"` by default. */
export interface EulerConfigKeys extends TrainingKeys, SpacingKeys, SigmaKeys {
  /** Default `"epsilon"`. */
  prediction_type: PredictionType;
  /** Whether noise levels between training timesteps are taken linearly, or evenly in their logarithm; default `"linear"`. */
  interpolation_type: "linear" | "log_linear";
  /** The smallest noise level of a spread; null: the schedule's own. Default null. */
  sigma_min: number | null;
  /** The largest noise level of a spread; null: the schedule's own. Default null. */
  sigma_max: number | null;
  /** With `v_prediction`, `"continuous"` gives the network log(sigma) / 4 instead of a timestep; default `"discrete"`. */
  timestep_type: "discrete" | "continuous";
  /** Rescale the betas so that the last timestep is nearly pure noise; default false. @see https://arxiv.org/abs/2305.08891 */
  rescale_betas_zero_snr: boolean;
  /** Where the run ends: without noise, or at the noise of timestep 0; default `"zero"`. */
  final_sigmas_type: "zero" | "sigma_min";
}

/** The class's name, keys and defaults. */
export const EULER_CLASS: ConfigClass<EulerConfigKeys> = {
  className: "EulerDiscreteScheduler",
  fields: {
    ...trainingFields(),
    prediction_type: predictionField,
    interpolation_type: oneOf("linear", ["linear", "log_linear"]),
    ...sigmaFields,
    sigma_min: nullable(float(0, { above: 0 })),
    sigma_max: nullable(float(0, { above: 0 })),
    ...spacingFields("linspace"),
    timestep_type: oneOf("discrete", ["discrete", "continuous"]),
    rescale_betas_zero_snr: boolean(false),
    final_sigmas_type: oneOf("zero", ["zero", "sigma_min"]),
  },
};

/** Options of {@link EulerDiscreteScheduler.step}. @see https://arxiv.org/abs/2206.00364 algorithm 2 */
export interface EulerStepOptions extends StepOptions {
  /** S_churn, how much noise is added anew over the run; default 0, none. */
  sChurn?: number;
  /** S_tmin, the smallest noise level at which noise is added; default 0. */
  sTmin?: number;
  /** S_tmax, the largest noise level at which noise is added; default infinity. */
  sTmax?: number;
  /** S_noise, the standard deviation of the added noise; default 1. */
  sNoise?: number;
}

const STEP_OPTIONS = ["eta", "generator", "sChurn", "sTmin", "sTmax", "sNoise"] as const;

/**
 * Denoise by Euler's method, of order 1, along the probability flow ODE of Karras et al.; with `sChurn`, their stochastic sampler.
 *
 * | variable | paper |
 * |---|---|
 * | `sigma`, `sigmaHat` | t_i, and t_i + gamma_i t_i |
 * | `predOriginalSample` | D_theta(x; t) |
 * | `derivative` | d_i = (x - D) / t_i |
 *
 * @see https://arxiv.org/abs/2206.00364 algorithm 2, diffusers.EulerDiscreteScheduler
 */
export class EulerDiscreteScheduler extends SigmaScheduler<EulerConfigKeys, EulerStepOptions> {
  static readonly kind = EULER_CLASS;

  /**
   * Make a scheduler of a config's keys; those left out have diffusers' defaults.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for an unknown key; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a value
   */
  constructor(config: GivenConfig<EulerConfigKeys> = {}) {
    super(EULER_CLASS, config);
    spreadOf(this.config);
  }

  /** @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming the timestep, where diffusers goes on with NaN or infinity */
  override checkSteps(options?: EulerStepOptions): void {
    checkChurn(options, "EulerDiscreteScheduler.checkSteps");
    this.checkLevels();
  }

  protected override get accepts(): readonly (keyof SetTimestepsOptions)[] {
    return ["timesteps", "sigmas"];
  }

  protected override makeTables(): NoiseTables {
    return tabulateFiniteNoise(this.config);
  }

  protected override initialSchedule(): Schedule {
    const schedule = super.initialSchedule();
    return this.#isContinuous && schedule.sigmas ? continuous(schedule.sigmas) : schedule;
  }

  protected override schedule(request: ScheduleRequest): Schedule {
    const { timesteps, sigmas } = request.sigmas ? this.#givenSigmas(request.sigmas) : this.#spaced(request);
    return this.#isContinuous ? continuous(sigmas) : { timesteps, sigmas };
  }

  #givenSigmas(given: readonly number[]): Required<Schedule> {
    checkSigmas(given);
    const sigmas = Float32Array.from(given);
    const logs = logTable(this.table);
    return { sigmas, timesteps: [...sigmas.slice(0, -1)].map((sigma) => Math.fround(sigmaToTimestep(sigma, logs))) };
  }

  #spaced({ count, timesteps: given }: ScheduleRequest): Required<Schedule> {
    const spread = spreadOf(this.config);
    if (given) this.refuseTimesteps(spread);
    if (given && this.#isContinuous)
      throw new LatentDiffusionError(
        "ERR_CONFIG_UNSUPPORTED",
        'EulerDiscreteScheduler cannot take timesteps with timestep_type "continuous" and prediction_type "v_prediction"',
      );
    const visited = given?.map(Math.fround) ?? this.space(count);
    const { timesteps, sigmas } =
      this.config.interpolation_type === "linear" || spread !== undefined
        ? this.levelsOf(visited, spread, count)
        : { timesteps: visited, sigmas: logLinear(this.table, count) };
    const last = this.config.final_sigmas_type === "zero" ? 0 : (this.table[0] ?? NaN);
    return { timesteps, sigmas: withLast(sigmas, last) };
  }

  get #isContinuous(): boolean {
    return this.config.timestep_type === "continuous" && this.config.prediction_type === "v_prediction";
  }

  protected override takeStep(
    torch: Arithmetic,
    { index, modelOutput, sample: given }: StepInput,
    options: EulerStepOptions | undefined,
  ): TakenStep {
    const { sChurn, sTmin, sTmax, sNoise } = checkChurn(options, "EulerDiscreteScheduler.step");
    checkStepGenerator(options?.generator, modelOutput);
    const level = this.levelAt(index);
    let sample = upcast(torch, given);

    // 1. Raise the noise level: gamma_i and t_i hat
    const churns = sTmin <= level && level <= sTmax;
    const gamma = churns ? Math.min(sChurn / (this.levels.length - 1), Math.SQRT2 - 1) : 0;
    const sigma = torch.scalar(level);
    const sigmaHat = torch.mul(sigma, gamma + 1);
    if (gamma > 0) {
      const eps = torch.mul(torch.own(drawLike(modelOutput, options?.generator)), sNoise);
      const added = torch.pow(torch.sub(torch.pow(sigmaHat, 2), torch.pow(sigma, 2)), 0.5);
      sample = torch.add(sample, torch.mul(eps, added));
    }

    // 2. D_theta(x; t)
    const predOriginalSample = this.predictOriginal(torch, modelOutput, sample, sigma, sigmaHat);

    // 3. d_i, and Euler's step to t_(i+1)
    const derivative = torch.div(torch.sub(sample, predOriginalSample), sigmaHat);
    const dt = torch.sub(torch.scalar(this.levelAt(index + 1)), sigmaHat);
    const prevSample = torch.add(sample, torch.mul(derivative, dt));
    return { prevSample: torch.op("to.dtype", prevSample, modelOutput.dtype), predOriginalSample };
  }
}

/**
 * Noise levels that fall evenly in their logarithm over the whole table. diffusers makes one more of them than there are timesteps, so
 * that the run ends above the last.
 */
function logLinear(table: Float32Array, count: number): number[] {
  const [largest = NaN, smallest = NaN] = [logTable(table).at(-1), logTable(table)[0]];
  const levels = compute((torch) => torch.op("exp", torch.op("linspace", largest, smallest, count + 1, "float32")));
  try {
    return Array.from(levels.dataSync() as Float32Array);
  } finally {
    levels.dispose();
  }
}

function checkChurn(
  options: EulerStepOptions | undefined,
  where: string,
): Required<Omit<EulerStepOptions, keyof StepOptions>> {
  const { sChurn = 0, sTmin = 0, sTmax = Infinity, sNoise = 1 } = checkOptions(options, STEP_OPTIONS, where);
  return {
    sChurn: checkNumber(sChurn, "sChurn", 0),
    sTmin: checkNumber(sTmin, "sTmin", 0),
    sTmax: sTmax === Infinity ? sTmax : checkNumber(sTmax, "sTmax", 0),
    sNoise: checkNumber(sNoise, "sNoise", 0),
  };
}

/** log(sigma) / 4 in the place of timesteps. */
function continuous(sigmas: Float32Array): Required<Schedule> {
  return {
    sigmas,
    timesteps: [...sigmas.slice(0, -1)].map((sigma) => Math.fround(0.25 * Math.fround(Math.log(sigma)))),
  };
}
