// How to add a scheduler: one file, `lib/schedulers/<name>.ts`, that reads top to bottom beside the paper.
//
// 1. Keys: an interface that extends TrainingKeys and SpacingKeys (and SigmaKeys), each key with meaning and default; a ConfigClass with
//    its fields. A key of diffusers' class is honoured or refused; never silently ignored.
// 2. The class: extends SchedulerBase, or SigmaScheduler where the noise level is a sigma (Euler and its kin). It has
//    `static readonly kind`, a constructor that calls `super(KIND, config)`, and
//      - `schedule(request)`: timesteps (and sigmas) for a count or for explicit lists; `accepts` says which lists the class takes;
//      - `checkSteps(options)`: throw for everything that would make NaN in a step, before any work;
//      - `takeStep(...)`: the formulas, each operation the one that diffusers dispatches, in its order, by Arithmetic. It always returns
//        `predOriginalSample`; where diffusers computes none, compute it for previews, and say so in the docstring.
// 3. Tensors that a later step needs live in fields of the class: `keep()` them, free them in `forget()`, copy them in `adopt()`.
// 4. A line in known.ts, an export in index.ts, cases in test/parity/reference/scheduler_cases.py (CASES), a golden in
//    test/fixtures/schedulers (schedulers.py with --golden), and test/schedulers/<name>.test.ts.
import { inspect } from "node:util";
import { CheckedConfig } from "../config/config.js";
import { InvalidArgumentError, LatentDiffusionError } from "../errors.js";
import type { DType } from "../native/contract.js";
import { Tensor } from "../torch/tensor.js";
import { checkInteger, checkNumber, checkOptions, unexpected } from "../validate.js";
import { ConfiguredScheduler } from "./configured.js";
import type { Scheduler, SetTimestepsOptions, StepOptions } from "./contract.js";
import { type Arithmetic, compute } from "./shared/arithmetic.js";
import { type AnyBetaSchedule, type NoiseTables, tabulateNoise, type TrainingKeys } from "./shared/betas.js";
import { checkNumbers, checkSameShape, checkTimesteps } from "./shared/checks.js";
import { addNoise, velocity } from "./shared/forward-process.js";

export type { GivenConfig } from "./configured.js";

/** The options that stand for a number of steps. */
const LISTS = ["timesteps", "sigmas"] as const;

/** What {@link SchedulerBase.setTimesteps} was asked for, checked. */
export interface ScheduleRequest extends SetTimestepsOptions {
  readonly count: number;
}

/** The timesteps of a run. */
export interface Schedule {
  readonly timesteps: readonly number[];
  /** One more than timesteps: the noise level before each step, and after the last; absent where a class has none. */
  readonly sigmas?: Float32Array;
}

/** One step's operands, checked. */
export interface StepInput {
  /** Which entry of the schedule it is; -1 for a scheduler that does not follow its schedule. */
  readonly index: number;
  readonly timestep: number;
  /** floating `[batch, ...]` */
  readonly modelOutput: Tensor;
  /** x_t, of the same shape. */
  readonly sample: Tensor;
}

/** What {@link SchedulerBase.takeStep} makes. */
export interface TakenStep<D extends DType = DType> extends Readonly<Record<string, Tensor>> {
  readonly prevSample: Tensor<D>;
  readonly predOriginalSample: Tensor;
}

/**
 * What every scheduler does: the tables, the schedule of a run and the place in it.
 * @see diffusers.SchedulerMixin
 */
export abstract class SchedulerBase<Keys extends TrainingKeys<AnyBetaSchedule>, Options extends StepOptions>
  extends ConfiguredScheduler<Keys>
  implements Scheduler
{
  /** How often a solver of this class evaluates the network for one step of its schedule. */
  readonly order: number = 1;
  #tables: NoiseTables | undefined;
  #schedule: Schedule | undefined;
  #initial: Schedule | undefined;
  #numInferenceSteps: number | undefined;
  #stepIndex: number | undefined;
  #beginIndex: number | undefined;

  /** The noise that each training timestep adds: a copy of the float32 table. */
  get betas(): Float32Array {
    return this.tables.betas.slice();
  }

  /** The share of the clean sample's variance at each training timestep: a copy of the float32 table. */
  get alphasCumprod(): Float32Array {
    return this.tables.alphasCumprod.slice();
  }

  /** What the network is called with, in order; before {@link setTimesteps}, every training timestep. */
  get timesteps(): readonly number[] {
    return this.current.timesteps;
  }

  get numInferenceSteps(): number | undefined {
    return this.#numInferenceSteps;
  }

  /** The entry of {@link timesteps} that the next step takes; undefined before the first step. */
  get stepIndex(): number | undefined {
    return this.#stepIndex;
  }

  /** The entry that the run begins with; undefined: the first step's timestep says. */
  get beginIndex(): number | undefined {
    return this.#beginIndex;
  }

  /** Say with which entry of {@link timesteps} the run begins, for runs that begin in the middle. */
  setBeginIndex(beginIndex = 0): void {
    this.#beginIndex = checkInteger(beginIndex, "beginIndex", 0, this.timesteps.length - 1);
  }

  /** The standard deviation of the first sample; read it after {@link setTimesteps}. */
  get initNoiseSigma(): number {
    return 1;
  }

  /**
   * Choose the timesteps of a run.
   * @param numInferenceSteps the number of steps; undefined where a list is given
   * @param options explicit `timesteps` or `sigmas`, where the class takes them
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT`; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a schedule that cannot be run
   */
  setTimesteps(numInferenceSteps: number | undefined, options?: SetTimestepsOptions): void {
    const request = this.#checkRequest(numInferenceSteps, options);
    const schedule = this.schedule(request);
    this.#schedule = { ...schedule, timesteps: Object.freeze(schedule.timesteps) };
    this.#numInferenceSteps = request.count;
    this.dispose();
  }

  /** Throw unless every step of the schedule that is set can be computed with these options; nothing is drawn. */
  abstract checkSteps(options?: StepOptions): void;

  /** Scale a sample for the network; the same tensor where this scheduler's network takes it as it is. */
  scaleModelInput(sample: Tensor, timestep?: number): Tensor {
    if (!(sample instanceof Tensor)) throw unexpected("a Tensor", "sample", sample);
    if (timestep !== undefined) checkNumber(timestep, "timestep");
    return sample;
  }

  /**
   * Go one step back: from x_t and what the network made of it to x_(t-1).
   * @param modelOutput floating `[batch, channels, height, width]`
   * @param timestep one of {@link timesteps}
   * @param sample x_t, of the same shape
   * @throws InvalidArgumentError; LatentDiffusionError `ERR_INVALID_STATE` before {@link setTimesteps} and after the last step,
   *   `ERR_CONFIG_UNSUPPORTED`
   */
  step<D extends DType>(modelOutput: Tensor, timestep: number, sample: Tensor<D>, options?: Options): TakenStep<D> {
    if (this.#numInferenceSteps === undefined)
      throw new LatentDiffusionError(
        "ERR_INVALID_STATE",
        `${this.className}.step needs a schedule: call setTimesteps(numInferenceSteps) first`,
      );
    checkSameShape(sample, "sample", modelOutput, "modelOutput");
    if (this.followsSchedule) checkNumber(timestep, "timestep");
    else checkInteger(timestep, "timestep", 0, this.config.num_train_timesteps - 1);
    const index = this.followsSchedule ? this.findStep(timestep) : -1;
    const result = compute((torch) => this.takeStep(torch, { index, timestep, modelOutput, sample }, options));
    if (this.followsSchedule) this.#stepIndex = index + 1;
    return result as TakenStep<D>;
  }

  /**
   * Add noise to clean samples, as in training.
   * @param originalSamples floating `[batch, ...]`
   * @param noise of the same shape
   * @param timesteps one for all, or one per sample
   */
  addNoise(originalSamples: Tensor, noise: Tensor, timesteps: number | readonly number[]): Tensor {
    return addNoise(this.tables.alphasCumprod, originalSamples, noise, timesteps);
  }

  /** Compute what a network with `v_prediction` is trained on; parameters as {@link addNoise}'s, timesteps those of training. */
  getVelocity(sample: Tensor, noise: Tensor, timesteps: number | readonly number[]): Tensor {
    return velocity(this.tables.alphasCumprod, sample, noise, timesteps);
  }

  /** Make a second scheduler with the same config, schedule and state; the tables are shared. */
  clone(): this {
    const twin = new (this.constructor as new (config: CheckedConfig<Keys>) => this)(new CheckedConfig(this.config));
    twin.#tables = this.#tables;
    twin.#schedule = this.#schedule;
    twin.#numInferenceSteps = this.#numInferenceSteps;
    twin.#stepIndex = this.#stepIndex;
    twin.#beginIndex = this.#beginIndex;
    twin.adopt(this);
    return twin;
  }

  /** Forget the run in progress, and free its tensors; the schedule stays. */
  dispose(): void {
    this.#stepIndex = undefined;
    this.#beginIndex = undefined;
    this.forget();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  [inspect.custom](): string {
    const { num_train_timesteps: total } = this.config;
    const shown = [this.config.timestep_spacing, this.config.prediction_type].filter(
      (value) => typeof value === "string",
    );
    return `${this.className}(${this.#numInferenceSteps ?? "no"} of ${total} steps, ${shown.join(", ")})`;
  }

  /** Whether steps are taken in the order of the schedule. False: any training timestep may be stepped at, in any order. */
  protected get followsSchedule(): boolean {
    return true;
  }

  /** Lists that {@link setTimesteps} takes. */
  protected get accepts(): readonly (keyof SetTimestepsOptions)[] {
    return [];
  }

  /** The most steps of a run. */
  protected get maxSteps(): number {
    return this.config.num_train_timesteps;
  }

  /** Make the tables of the config; called once. */
  protected makeTables(): NoiseTables {
    return tabulateNoise(this.config);
  }

  /** The schedule for a request. */
  protected abstract schedule(request: ScheduleRequest): Schedule;

  /** The schedule before {@link setTimesteps}. */
  protected initialSchedule(): Schedule {
    const { num_train_timesteps: total } = this.config;
    return { timesteps: Object.freeze(Array.from({ length: total }, (_, i) => total - 1 - i)) };
  }

  /** The formulas of one step. What is drawn is drawn here, after all checks. */
  protected abstract takeStep(torch: Arithmetic, input: StepInput, options: Options | undefined): TakenStep;

  /** Free the tensors that steps left. */
  protected forget(): void {
    // Nothing, unless a subclass keeps tensors.
  }

  /** Take over another's tensors, as copies by {@link keep}. */
  protected adopt(_other: this): void {
    // Nothing, unless a subclass keeps tensors.
  }

  /** The tables, not copied. */
  protected get tables(): NoiseTables {
    this.#tables ??= this.makeTables();
    return this.#tables;
  }

  /** The schedule that is set, or the one before. */
  protected get current(): Schedule {
    if (this.#schedule) return this.#schedule;
    this.#initial ??= this.initialSchedule();
    return this.#initial;
  }

  /** Find the entry of the schedule that a step takes, and remember it; `scaleModelInput` calls it too. */
  protected findStep(timestep: number): number {
    const index = this.#stepIndex ?? this.#beginIndex ?? this.indexForTimestep(timestep);
    if (index >= this.timesteps.length)
      throw new LatentDiffusionError(
        "ERR_INVALID_STATE",
        `${this.className} has taken all of its ${this.timesteps.length} steps: call setTimesteps(numInferenceSteps) again`,
      );
    this.#stepIndex = index;
    return index;
  }

  /**
   * Find a timestep in the schedule: the second entry where it is there several times, as diffusers, so that a run that begins in the
   * middle skips no noise level.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT`
   */
  protected indexForTimestep(timestep: number): number {
    const wanted = Math.fround(timestep);
    const first = this.timesteps.findIndex((t) => Math.fround(t) === wanted);
    if (first < 0) throw unexpected(`one of scheduler.timesteps`, "timestep", timestep);
    const second = this.timesteps.findIndex((t, i) => i > first && Math.fround(t) === wanted);
    return second < 0 ? first : second;
  }

  #checkRequest(count: number | undefined, options: SetTimestepsOptions | undefined): ScheduleRequest {
    const where = `${this.className}.setTimesteps`;
    const { timesteps, sigmas, ...more } = checkOptions(options, this.accepts, where);
    const given = [count, timesteps, sigmas].filter((value) => value !== undefined);
    if (given.length !== 1) {
      const names = ["numInferenceSteps", ...LISTS.filter((name) => this.accepts.includes(name))].join(", ");
      throw new InvalidArgumentError(`Expected exactly one of ${names} for ${where} but received ${given.length}`);
    }
    if (timesteps !== undefined) return { ...more, timesteps: checkTimesteps(timesteps), count: timesteps.length };
    if (sigmas !== undefined) return { ...more, sigmas: checkNumbers(sigmas, "sigmas"), count: sigmas.length - 1 };
    return { ...more, count: checkInteger(count, "numInferenceSteps", 1, this.maxSteps) };
  }
}
