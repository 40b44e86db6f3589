// What the pipeline and a scheduler's callers agree on.
import type { JsonObject } from "../config/config-file.js";
import type { DType } from "../native/contract.js";
import type { Generator } from "../torch/generator.js";
import type { Tensor } from "../torch/tensor.js";

/** What the denoising loop may ask of any scheduler's step; a scheduler ignores what has no meaning for it. */
export interface StepOptions {
  /** The weight of fresh noise, in [0, 1]: 0 is deterministic, 1 is DDPM's; default 0. Only DDIM-like schedulers use it. */
  eta?: number;
  /** Where fresh noise is drawn from: one for the batch, or one per image; default: a new one, seeded at random. */
  generator?: Generator | readonly Generator[];
}

/** What a step returns. @see diffusers.schedulers.scheduling_utils.SchedulerOutput */
export interface SchedulerOutput<D extends DType = DType> {
  /** x_(t-1), the input of the next step; shape, dtype and device of the model's output. */
  readonly prevSample: Tensor<D>;
  /** The clean sample as predicted at this step. Every scheduler of this package gives it; others may not. */
  readonly predOriginalSample?: Tensor;
}

/** What a schedule may be made of besides a number of steps, where a class takes it. */
export interface SetTimestepsOptions {
  /** The timesteps to visit, falling. */
  timesteps?: readonly number[];
  /** The noise levels, falling; the last one is where the run ends. */
  sigmas?: readonly number[];
  /** LCM and TCD only: how many timesteps the network was distilled on, instead of the config's `original_inference_steps`. */
  originalInferenceSteps?: number;
  /** LCM and TCD only: the share of the schedule that a run takes, from its noisy end, in [0, 1]; default 1. */
  strength?: number;
}

/**
 * What the pipeline needs of a scheduler. A scheduler is synchronous, and its state is small: {@link Scheduler.clone} gives each
 * run its own.
 * @see diffusers.SchedulerMixin
 */
export interface Scheduler {
  /** The name in `model_index.json` and `scheduler_config.json`. */
  readonly className: string;
  /** All keys, those of other classes that a file held included; frozen. */
  readonly config: JsonObject;
  /** What the network is called with, in order; as many evaluations as entries. */
  readonly timesteps: readonly number[];
  /** Undefined until {@link Scheduler.setTimesteps}. */
  readonly numInferenceSteps: number | undefined;
  /** The standard deviation of the first sample; read it after {@link Scheduler.setTimesteps}. */
  readonly initNoiseSigma: number;
  /** Choose the timesteps of a run: a number of steps, or undefined and a list. */
  setTimesteps(numInferenceSteps: number | undefined, options?: SetTimestepsOptions): void;
  /** Throw unless every step of the schedule that is set can be computed with these options; nothing is drawn. */
  checkSteps(options: StepOptions): void;
  scaleModelInput(sample: Tensor, timestep?: number): Tensor;
  step<D extends DType>(
    modelOutput: Tensor,
    timestep: number,
    sample: Tensor<D>,
    options?: StepOptions,
  ): SchedulerOutput<D>;
  /** The same config and schedule, with a state of its own. */
  clone(): Scheduler;
  savePretrained(folder: string): Promise<void>;
  /** Free what a run left in the state; the scheduler can be used again after {@link Scheduler.setTimesteps}. */
  dispose?(): void;
}
