import { join } from "node:path";
import { inspect } from "node:util";
import { InvalidArgumentError, LatentDiffusionError } from "../errors.js";
import type { Generator } from "../torch/generator.js";
import { CheckedConfig, completeForeign, completeGiven } from "../config/config.js";
import { type JsonObject, readConfig, writeConfig } from "../config/config-file.js";
import { Tensor } from "../torch/tensor.js";
import { checkBoolean, checkInteger, checkNumber, checkOptions, checkString, unexpected } from "../validate.js";
import { compute } from "./shared/arithmetic.js";
import { tabulateAlphasCumprod } from "./shared/betas.js";
import { checkAlphas, ddimCoefficients, SAFE_ETA, type StepAlphas, unsolvable } from "./ddim-coefficients.js";
import { DDIM_CLASS, type DDIMConfig, type DDIMConfigKeys } from "./ddim-config.js";
import { ddimStep } from "./ddim-step.js";
import { addNoise, velocity } from "./shared/forward-process.js";
import { checkGenerators, drawNoise, randomGenerator } from "./shared/noise.js";
import type { Scheduler, SchedulerOutput, StepOptions } from "./base.js";
import { COMPATIBLE_CLASSES, SCHEDULER_FILE } from "./shared/scheduler-config.js";
import { spaceTimesteps } from "./shared/timestep-spacing.js";

export { DDIM_CLASS } from "./ddim-config.js";
export type { BetaSchedule, DDIMConfig, DDIMConfigKeys, PredictionType, TimestepSpacing } from "./ddim-config.js";

/** Options of {@link DDIMScheduler.step}. */
export interface DDIMStepOptions extends StepOptions {
  /** Derive the noise again from the clipped clean sample, as GLIDE does; default false. */
  useClippedModelOutput?: boolean;
  /** The fresh noise itself, of the sample's shape, instead of a generator. */
  varianceNoise?: Tensor;
}

/** What {@link DDIMScheduler.step} returns. @see diffusers.schedulers.scheduling_ddim.DDIMSchedulerOutput */
export interface DDIMSchedulerOutput extends SchedulerOutput {
  readonly predOriginalSample: Tensor;
}

/** A step's options after their checks. */
interface CheckedStep {
  readonly eta: number;
  readonly useClippedModelOutput: boolean;
  readonly generator: Generator | readonly Generator[] | undefined;
  readonly varianceNoise: Tensor | undefined;
}

/**
 * Denoise with a denoising diffusion implicit model's steps. Synchronous; it holds no native memory.
 * @see https://arxiv.org/abs/2010.02502, diffusers.DDIMScheduler
 */
export class DDIMScheduler implements Scheduler {
  readonly className = DDIM_CLASS.className;
  readonly config: DDIMConfig;
  /** Of the first sample's noise; DDIM starts from plain noise. */
  readonly initNoiseSigma = 1;
  readonly #alphasCumprod: Float32Array;
  #timesteps: readonly number[] | undefined;
  #numInferenceSteps: number | undefined;

  /**
   * Make a scheduler of a config's keys; those left out have diffusers' defaults.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for an unknown key; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a value
   */
  constructor(config?: Partial<DDIMConfigKeys>);
  /** @internal */
  constructor(config: CheckedConfig<DDIMConfigKeys>);
  constructor(config: Partial<DDIMConfigKeys> | CheckedConfig<DDIMConfigKeys> = {}) {
    this.config = completeGiven(DDIM_CLASS, config);
    this.#alphasCumprod = tableOf(this.config);
  }

  /**
   * Make a scheduler of what a file or another scheduler's `config` holds; keys of other classes are kept and saved again.
   * @param overrides values to take instead
   * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming key and value
   * @see diffusers.ConfigMixin.from_config
   */
  static fromConfig(config: JsonObject, overrides?: Partial<DDIMConfigKeys>): DDIMScheduler {
    return new DDIMScheduler(new CheckedConfig(completeForeign(DDIM_CLASS, config, overrides)));
  }

  /**
   * Read `scheduler_config.json` of a folder; another compatible class's file serves too.
   * @param options `subfolder`: where in the folder, `"scheduler"` in a pipeline's
   * @throws LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND`, `ERR_CHECKPOINT_INVALID`, `ERR_CONFIG_UNSUPPORTED`
   */
  static async fromPretrained(folder: string, options?: { subfolder?: string }): Promise<DDIMScheduler> {
    const { subfolder } = checkOptions(options, ["subfolder"], "DDIMScheduler.fromPretrained");
    const path = join(
      checkString(folder, "folder"),
      subfolder === undefined ? "" : checkString(subfolder, "subfolder"),
    );
    return DDIMScheduler.fromConfig(await readConfig(path, SCHEDULER_FILE, COMPATIBLE_CLASSES));
  }

  /** Write `scheduler_config.json` into a folder, which is made. @throws LatentDiffusionError `ERR_IO` */
  async savePretrained(folder: string): Promise<void> {
    await writeConfig(checkString(folder, "folder"), SCHEDULER_FILE, DDIM_CLASS, this.config);
  }

  /** What the network is called with, in order; before {@link setTimesteps}, every training timestep. */
  get timesteps(): readonly number[] {
    const { num_train_timesteps: total } = this.config;
    this.#timesteps ??= Object.freeze(Array.from({ length: total }, (_, i) => total - 1 - i));
    return this.#timesteps;
  }

  get numInferenceSteps(): number | undefined {
    return this.#numInferenceSteps;
  }

  /** The share of the clean sample's variance at each training timestep: a copy of the float32 table. */
  get alphasCumprod(): Float32Array {
    return this.#alphasCumprod.slice();
  }

  /**
   * Choose the timesteps of a run.
   * @param numInferenceSteps from 1 to `num_train_timesteps`
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT`; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` where the spacing leaves the
   *   training timesteps, as `steps_offset` 1 does with 1000 steps of 1000
   */
  setTimesteps(numInferenceSteps: number): void {
    const { num_train_timesteps: total, timestep_spacing: spacing, steps_offset: offset } = this.config;
    const count = checkInteger(numInferenceSteps, "numInferenceSteps", 1, total);
    const timesteps = spaceTimesteps(spacing, total, count, offset);
    const outside = timesteps.find((t) => t < 0 || t >= total);
    if (outside !== undefined) {
      throw new LatentDiffusionError(
        "ERR_CONFIG_UNSUPPORTED",
        `timestep_spacing "${spacing}" with steps_offset ${offset} and ${count} steps visits timestep ${outside}, outside 0 to ${total - 1}; take another number of steps`,
      );
    }
    this.#timesteps = Object.freeze(timesteps);
    this.#numInferenceSteps = count;
  }

  /**
   * Check that every step of the schedule that is set has finite coefficients.
   * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming the timestep, where diffusers goes on with NaN or infinity
   */
  checkSteps(options?: StepOptions): void {
    const { eta: weight = 0 } = checkOptions(options, ["eta", "generator"], "DDIMScheduler.checkSteps");
    const eta = checkNumber(weight, "eta", 0, 1);
    for (const timestep of this.timesteps) {
      const alphas = this.#alphas(timestep);
      if (eta > SAFE_ETA) compute((torch) => ddimCoefficients(torch, alphas, eta).stdDev).dispose();
    }
  }

  /** Return the sample: DDIM's network takes it as it is. */
  scaleModelInput(sample: Tensor, timestep?: number): Tensor {
    if (timestep !== undefined) checkNumber(timestep, "timestep");
    return sample;
  }

  /**
   * Go one step back: from x_t and what the network made of it to x_(t-1).
   * @param modelOutput floating `[batch, channels, height, width]`
   * @param timestep one of {@link timesteps}
   * @param sample x_t, of the same shape
   * @throws InvalidArgumentError; LatentDiffusionError `ERR_INVALID_STATE` before {@link setTimesteps}, `ERR_CONFIG_UNSUPPORTED`
   * @see https://arxiv.org/abs/2010.02502 formulas (12) and (16)
   */
  step(modelOutput: Tensor, timestep: number, sample: Tensor, options?: DDIMStepOptions): DDIMSchedulerOutput {
    const checked = this.#checkStep(modelOutput, timestep, sample, options);
    return compute((torch) => {
      // Steps 1 and 2; the rest follow in ddimStep.
      const coefficients = ddimCoefficients(torch, this.#alphas(timestep), checked.eta);
      const noise = (): Tensor => checked.varianceNoise ?? torch.own(drawFor(modelOutput, checked.generator));
      return ddimStep(torch, this.config, coefficients, modelOutput, sample, { ...checked, noise });
    });
  }

  /**
   * Add noise to clean samples, as in training.
   * @param originalSamples floating `[batch, ...]`
   * @param noise of the same shape
   * @param timesteps one for all, or one a sample
   */
  addNoise(originalSamples: Tensor, noise: Tensor, timesteps: number | readonly number[]): Tensor {
    return addNoise(this.#alphasCumprod, originalSamples, noise, timesteps);
  }

  /** Compute what a network with `v_prediction` is trained on; parameters as {@link addNoise}'s. */
  getVelocity(sample: Tensor, noise: Tensor, timesteps: number | readonly number[]): Tensor {
    return velocity(this.#alphasCumprod, sample, noise, timesteps);
  }

  /** Make a second scheduler with the same config and schedule; the tables are shared. */
  clone(): DDIMScheduler {
    const twin = new DDIMScheduler(new CheckedConfig(this.config));
    twin.#timesteps = this.#timesteps;
    twin.#numInferenceSteps = this.#numInferenceSteps;
    return twin;
  }

  [inspect.custom](): string {
    const { num_train_timesteps: total, timestep_spacing: spacing, prediction_type: prediction } = this.config;
    return `DDIMScheduler(${this.#numInferenceSteps ?? "no"} of ${total} steps, ${spacing}, ${prediction})`;
  }

  /** Look a step's alphas up, and refuse a step that cannot be taken with any eta. */
  #alphas(timestep: number): StepAlphas {
    const {
      num_train_timesteps: total,
      set_alpha_to_one: endsAtOne,
      prediction_type: prediction,
      clip_sample: clips,
      thresholding,
    } = this.config;
    const previous = timestep - Math.floor(total / (this.#numInferenceSteps ?? total));
    const alpha = this.#alphasCumprod[timestep] ?? NaN;
    const alphaPrev = (previous >= 0 ? this.#alphasCumprod[previous] : endsAtOne ? 1 : this.#alphasCumprod[0]) ?? NaN;
    const alphas = { alpha, alphaPrev, where: `timestep ${timestep}` };
    // A division by 0: clipping brings infinities back, a quantile of infinities is none.
    if (alpha === 0 && prediction === "epsilon" && (thresholding || !clips)) {
      throw unsolvable(
        alphas.where,
        "nothing of the sample is left there (zero terminal SNR), and noise alone does not say what it was; " +
          'take prediction_type "v_prediction" or "sample", or a timestep_spacing that leaves it out',
      );
    }
    checkAlphas(alphas);
    return alphas;
  }

  #checkStep(modelOutput: Tensor, timestep: number, sample: Tensor, options: DDIMStepOptions | undefined): CheckedStep {
    if (this.#numInferenceSteps === undefined) {
      throw new LatentDiffusionError(
        "ERR_INVALID_STATE",
        "DDIMScheduler.step needs a schedule: call setTimesteps(numInferenceSteps) first",
      );
    }
    if (!(modelOutput instanceof Tensor)) throw unexpected("a Tensor", "modelOutput", modelOutput);
    if (!(sample instanceof Tensor)) throw unexpected("a Tensor", "sample", sample);
    checkInteger(timestep, "timestep", 0, this.config.num_train_timesteps - 1);
    checkShapeOf(modelOutput, "modelOutput", sample);
    const {
      eta = 0,
      useClippedModelOutput = false,
      generator,
      varianceNoise,
    } = checkOptions(options, ["eta", "useClippedModelOutput", "generator", "varianceNoise"], "DDIMScheduler.step");
    if (generator !== undefined && varianceNoise !== undefined) {
      throw new InvalidArgumentError("Expected generator or varianceNoise but received both");
    }
    if (varianceNoise !== undefined) {
      if (!(varianceNoise instanceof Tensor)) throw unexpected("a Tensor", "varianceNoise", varianceNoise);
      checkShapeOf(varianceNoise, "varianceNoise", sample);
    }
    if (generator !== undefined) checkGenerators(generator, sample.shape[0] ?? 1, modelOutput.device);
    return {
      eta: checkNumber(eta, "eta", 0, 1),
      useClippedModelOutput: checkBoolean(useClippedModelOutput, "useClippedModelOutput"),
      generator,
      varianceNoise,
    };
  }
}

/** One table a config, shared by all copies of a scheduler. */
const TABLES = new WeakMap<DDIMConfig, Float32Array>();

function tableOf(config: DDIMConfig): Float32Array {
  const table = TABLES.get(config) ?? tabulateAlphasCumprod(config);
  TABLES.set(config, table);
  return table;
}

function drawFor(modelOutput: Tensor, generator: Generator | readonly Generator[] | undefined): Tensor {
  const { shape, device, dtype } = modelOutput;
  if (generator !== undefined) return drawNoise(shape, generator, device, dtype);
  using own = randomGenerator();
  return drawNoise(shape, own, device, dtype);
}

function checkShapeOf(tensor: Tensor, name: string, sample: Tensor): void {
  if (tensor.shape.join() === sample.shape.join()) return;
  throw new InvalidArgumentError(
    `Expected the shape [${sample.shape.join(", ")}] of sample for ${name} but received [${tensor.shape.join(", ")}]`,
  );
}
