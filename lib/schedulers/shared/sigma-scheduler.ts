import type { JsonObject } from "../../files/json.js";
import { LatentDiffusionError } from "../../errors.js";
import { Tensor } from "../../torch/tensor.js";
import { checkNumber, isArray, unexpected } from "../../validate.js";
import { type Schedule, SchedulerBase } from "../base.js";
import type { StepOptions } from "../contract.js";
import { checkSameShape, unsolvable } from "./checks.js";
import { type Arithmetic, compute } from "./arithmetic.js";
import type { AnyBetaSchedule, PredictionType, TrainingKeys } from "./betas.js";
import { interpolate, logTable, sigmaTable, sigmaToTimestep, type SigmaSpread, spreadSigmas } from "./sigmas.js";
import { spaceFractions, type SpacingKeys } from "./spacing.js";

/** The keys that {@link SigmaScheduler} reads. */
export type SigmaSchedulerKeys = TrainingKeys<AnyBetaSchedule> &
  Partial<SpacingKeys> & { prediction_type: PredictionType };

/**
 * A scheduler whose noise level is a standard deviation: x = x_0 + sigma * noise, where the network takes x / sqrt(sigma^2 + 1).
 * @see https://arxiv.org/abs/2206.00364
 */
export abstract class SigmaScheduler<
  Keys extends SigmaSchedulerKeys,
  Options extends StepOptions,
> extends SchedulerBase<Keys, Options> {
  #table: Float32Array | undefined;

  /** The noise level before each step, and after the last: a copy. */
  get sigmas(): Float32Array {
    return this.levels.slice();
  }

  /** The largest noise level; with `"leading"` spacing the standard deviation of a sample at that level. */
  override get initNoiseSigma(): number {
    const largest = this.levels.reduce((a, b) => Math.max(a, b), 0);
    if (this.config.timestep_spacing !== "leading") return largest;
    const sigma = compute((torch) => torch.pow(torch.add(torch.pow(torch.scalar(largest), 2), 1), 0.5));
    const value = Number(sigma.dataSync()[0]);
    sigma.dispose();
    return value;
  }

  /** Divide a sample by sqrt(sigma^2 + 1); `timestep` is one of `timesteps`. */
  override scaleModelInput(sample: Tensor, timestep?: number): Tensor {
    if (!(sample instanceof Tensor)) throw unexpected("a Tensor", "sample", sample);
    const sigma = this.inputLevel(this.findStep(checkNumber(timestep, "timestep")));
    return compute((torch) => {
      const scale = torch.pow(torch.add(torch.pow(torch.scalar(sigma), 2), 1), 0.5);
      return torch.div(sample, scale);
    });
  }

  /**
   * Add noise to clean samples at steps of the schedule that is set: after the first step, at the next one; after `setBeginIndex`, at
   * that one; else at the given timesteps.
   * @param timesteps entries of `timesteps`, one for all or one per sample
   */
  override addNoise(originalSamples: Tensor, noise: Tensor, timesteps: number | readonly number[]): Tensor {
    checkSameShape(originalSamples, "originalSamples", noise, "noise");
    const list = typeof timesteps === "number" ? [timesteps] : timesteps;
    const batch = originalSamples.shape[0] ?? 1;
    if (!isArray(list) || (list.length !== 1 && list.length !== batch))
      throw unexpected(`one timestep, or ${batch}, one per sample,`, "timesteps", timesteps);
    const fixed = this.beginIndex === undefined ? undefined : (this.stepIndex ?? this.beginIndex);
    const sigmas = list.map((t: number) => this.levelAt(fixed ?? this.indexForTimestep(checkNumber(t, "timesteps"))));
    return compute((torch) => {
      const shape = [sigmas.length, ...originalSamples.shape.slice(1).map(() => 1)];
      const table = torch.own(Tensor.from(Float32Array.from(sigmas), shape));
      const placed = torch.op("to.device", table, originalSamples.device, originalSamples.dtype);
      return this.mixNoise(torch, originalSamples, noise, placed);
    });
  }

  /** Add noise of a level, in the sample's dtype and shaped to scale each sample. */
  protected mixNoise(torch: Arithmetic, original: Tensor, noise: Tensor, level: Tensor): Tensor {
    return torch.add(original, torch.mul(noise, level));
  }

  /** Check that every noise level of the schedule but the last is finite and above 0. */
  protected checkLevels(): void {
    const bad = this.timesteps.findIndex((_, i) => !(this.levelAt(i) > 0) || !Number.isFinite(this.levelAt(i)));
    if (bad < 0) return;
    const level = this.levelAt(bad);
    throw unsolvable(
      this.className,
      `timestep ${this.timesteps[bad]}`,
      level === 0
        ? "there is no noise to remove: the betas up to it are 0 in float32"
        : `the betas give the noise level ${level}`,
    );
  }

  /** The levels of the schedule, not copied. */
  protected get levels(): Float32Array {
    return this.current.sigmas ?? new Float32Array(0);
  }

  protected levelAt(index: number): number {
    return this.levels[index] ?? NaN;
  }

  /** The noise level of the sample that the network sees at an entry of the schedule. */
  protected inputLevel(index: number): number {
    return this.levelAt(index);
  }

  /** The noise level of each training timestep. */
  protected get table(): Float32Array {
    this.#table ??= sigmaTable(this.tables.alphasCumprod);
    return this.#table;
  }

  protected override get maxSteps(): number {
    return this.config.num_train_timesteps;
  }

  protected override initialSchedule(): Schedule {
    const plain = super.initialSchedule();
    return { timesteps: plain.timesteps, sigmas: withLast([...this.table].reverse(), 0) };
  }

  /** The timesteps of a number of steps; those that leave the training's are refused. */
  protected space(count: number): number[] {
    const { timestep_spacing: spacing = "linspace", steps_offset: offset = 0 } = this.config;
    return spaceFractions(spacing, this.config.num_train_timesteps, count, offset);
  }

  /**
   * Turn timesteps into noise levels, spread anew where a config asks for it.
   * @param count how many levels to spread
   * @returns doubles, and the timesteps that go with them
   */
  protected levelsOf(
    timesteps: readonly number[],
    spread: SigmaSpread | undefined,
    count = timesteps.length,
  ): { readonly timesteps: readonly number[]; readonly sigmas: readonly number[] } {
    const sigmas = interpolate(timesteps, this.table);
    if (spread === undefined) return { timesteps, sigmas };
    const logs = logTable(this.table);
    const levels = spreadSigmas(spread, sigmas, count, this.spreadLimits);
    return { timesteps: levels.map((sigma) => Math.fround(sigmaToTimestep(sigma, logs))), sigmas: levels };
  }

  /** The limits that the config sets for a spread. */
  protected get spreadLimits(): SpreadLimits {
    return limitsOf(this.config);
  }

  /** Refuse explicit timesteps where the config spreads the levels anew. */
  protected refuseTimesteps(spread: SigmaSpread | undefined): void {
    if (spread === undefined) return;
    throw new LatentDiffusionError(
      "ERR_CONFIG_UNSUPPORTED",
      `${this.className} cannot take timesteps, since its config spreads the noise levels anew (${spread})`,
    );
  }

  /**
   * The clean sample that goes with the network's output.
   * @param sigma float32, without dimensions
   * @see https://arxiv.org/abs/2206.00364 table 1, https://arxiv.org/abs/2202.00512 for the velocity
   */
  protected predictOriginal(
    torch: Arithmetic,
    modelOutput: Tensor,
    sample: Tensor,
    sigma: Tensor,
    hat = sigma,
  ): Tensor {
    switch (this.config.prediction_type) {
      case "epsilon":
        return torch.sub(sample, torch.mul(hat, modelOutput));
      case "sample":
        return modelOutput;
      case "v_prediction": {
        const variance = torch.add(torch.pow(sigma, 2), 1);
        const scale = torch.div(torch.op("neg", sigma), torch.pow(variance, 0.5));
        return torch.add(torch.mul(modelOutput, scale), torch.div(sample, variance));
      }
    }
  }
}

/** The noise levels between which a config spreads its schedule; null: those of training. */
export interface SpreadLimits {
  readonly sigma_min: number | null;
  readonly sigma_max: number | null;
}

/** diffusers reads the limits from any config that has them, the keys of other classes included. */
export function limitsOf(config: JsonObject): SpreadLimits {
  const { sigma_min: min, sigma_max: max } = config;
  return { sigma_min: typeof min === "number" ? min : null, sigma_max: typeof max === "number" ? max : null };
}

/** A sample in float32, as diffusers computes the steps of Euler's methods. */
export function upcast(torch: Arithmetic, sample: Tensor): Tensor {
  return sample.dtype === "float32" ? sample : torch.op("to.dtype", sample, "float32");
}

/** Noise levels in float32, and the one after the last step. */
export function withLast(sigmas: readonly number[], last: number): Float32Array {
  return Float32Array.from([...sigmas, last]);
}
