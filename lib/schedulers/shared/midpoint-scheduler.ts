import type { ConfigClass } from "../../config/config.js";
import { type Fields, unsupported } from "../../config/fields.js";
import type { Tensor } from "../../torch/tensor.js";
import { unexpected } from "../../validate.js";
import type { GivenConfig, Schedule, ScheduleRequest, StepInput, TakenStep } from "../base.js";
import type { StepOptions } from "../contract.js";
import type { Arithmetic } from "./arithmetic.js";
import { predictionField, type PredictionType, trainingFields, type TrainingKeys } from "./betas.js";
import { keep, unsolvable } from "./checks.js";
import { SigmaScheduler } from "./sigma-scheduler.js";
import { logTable, sigmaFields, type SigmaKeys, type SigmaSpread, sigmaToTimestep, spreadOf } from "./sigmas.js";
import { spacingFields, type SpacingKeys } from "./spacing.js";

/**
 * The config keys of the schedulers that take a step by way of its middle. By default `beta_start` is 0.00085, `beta_end` 0.012 and
 * `timestep_spacing` `"linspace"`.
 */
export interface MidpointKeys extends TrainingKeys, SpacingKeys, SigmaKeys {
  /** `"epsilon"`, the default, or `"v_prediction"`; diffusers constructs `"sample"` and cannot step with it. */
  prediction_type: PredictionType;
}

/** The fields of {@link MidpointKeys}. */
export const midpointFields: Fields<MidpointKeys> = {
  ...trainingFields({ start: 0.00085, end: 0.012 }),
  prediction_type: predictionField,
  ...sigmaFields,
  ...spacingFields("linspace"),
};

/** A schedule with the noise level in the middle of each step, in float32; the last step has none. */
export interface MidpointSchedule extends Schedule {
  readonly sigmas: Float32Array;
  readonly middles: Float32Array;
}

/**
 * A scheduler that evaluates the network at the beginning and in the middle of each step, except for the last step, which is Euler's. Step
 * k is at the entries 2k and 2k + 1 of `timesteps` and of `sigmas`.
 * @see https://arxiv.org/abs/2206.00927 algorithm 1 (DPM-Solver-2)
 */
export abstract class MidpointScheduler<
  Keys extends MidpointKeys,
  Options extends StepOptions = StepOptions,
> extends SigmaScheduler<Keys, Options> {
  override readonly order = 2;
  #start: Tensor | undefined;

  protected constructor(kind: ConfigClass<Keys>, config: GivenConfig<Keys>) {
    super(kind, config);
    spreadOf(this.config);
  }

  /** Whether the next call of `step` begins a step; false: it finishes one. */
  get stateInFirstOrder(): boolean {
    return this.#start === undefined;
  }

  /** The schedule that is set, or the one before. */
  protected override get current(): MidpointSchedule {
    return super.current as MidpointSchedule;
  }

  protected override initialSchedule(): MidpointSchedule {
    return this.schedule({ count: this.config.num_train_timesteps });
  }

  protected abstract override schedule(request: ScheduleRequest): MidpointSchedule;

  /** The levels of a number of steps, in doubles, and their timesteps. */
  protected spaced(count: number): {
    readonly timesteps: readonly number[];
    readonly sigmas: readonly number[];
    readonly spread: SigmaSpread | undefined;
  } {
    const spread = spreadOf(this.config);
    return { ...this.levelsOf(this.space(count), spread, count), spread };
  }

  /** The timestep of each noise level, in doubles. */
  protected timestepsOf(sigmas: Iterable<number>): number[] {
    const logs = logTable(this.table);
    return Array.from(sigmas, (sigma) => sigmaToTimestep(sigma, logs));
  }

  protected override inputLevel(index: number): number {
    return this.stateInFirstOrder ? this.levelAt(index) : this.middleAt(index >> 1);
  }

  protected middleAt(step: number): number {
    return this.current.middles[step] ?? NaN;
  }

  /** Check what every step of the schedule needs: a known prediction, and noise levels that fall. */
  protected checkHalves(): void {
    const { prediction_type: type } = this.config;
    if (type === "sample") throw unsupported("prediction_type", '"epsilon" or "v_prediction" to step', type);
    this.checkLevels();
    const { timesteps } = this;
    for (let i = 0; i < timesteps.length; i += 2)
      if (this.levelAt(i + 1) > this.levelAt(i))
        throw unsolvable(this.className, `timestep ${timesteps[i]}`, "the noise level does not fall");
    this.#checkBegin(this.stepIndex ?? this.beginIndex ?? 0);
  }

  /** Say in which half of a step a call is, and where its step began. */
  protected halfOf({ index, sample }: StepInput): {
    readonly step: number;
    readonly isFirst: boolean;
    readonly start: Tensor;
  } {
    if (this.stateInFirstOrder) this.#checkBegin(index);
    return { step: index >> 1, isFirst: this.stateInFirstOrder, start: this.#start ?? sample };
  }

  #checkBegin(index: number): void {
    if (this.stateInFirstOrder && index % 2 === 1)
      throw unexpected(
        "a run that begins with the first half of a step, at an even index of timesteps,",
        "index",
        index,
      );
  }

  /** Remember where a step began, unless it has no second half; forget it after that. */
  protected turnHalf({ index, sample }: StepInput): void {
    if (!this.stateInFirstOrder) this.#forgetStart();
    else if (index < this.timesteps.length - 1) this.#start = keep(sample);
  }

  /**
   * Go to the middle by the derivative at the beginning, or from the beginning to `to` by the derivative in the middle.
   * @param middle where the first half ends, float32 without dimensions; `to`: where the second one does
   */
  protected takeHalf(torch: Arithmetic, input: StepInput, middle: Tensor, to: Tensor): TakenStep {
    const { modelOutput, sample } = input;
    const { step, isFirst, start } = this.halfOf(input);
    const sigma = torch.scalar(this.levelAt(2 * step));
    const here = isFirst ? sigma : middle;
    const predOriginalSample = this.predictOriginal(torch, modelOutput, sample, here);
    const derivative = torch.div(torch.sub(sample, predOriginalSample), here);
    const dt = torch.sub(isFirst ? middle : to, sigma);
    const prevSample = torch.add(start, torch.mul(derivative, dt));
    this.turnHalf(input);
    return { prevSample, predOriginalSample };
  }

  #forgetStart(): void {
    this.#start?.dispose();
    this.#start = undefined;
  }

  protected override forget(): void {
    this.#forgetStart();
  }

  protected override adopt(other: this): void {
    if (other.#start) this.#start = keep(other.#start);
  }
}
