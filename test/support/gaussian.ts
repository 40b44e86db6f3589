// An exact model: data that are N(mean, deviation^2), where the best network has a closed form, and so has the solution.
import type { JsonObject } from "../../lib/files/json.js";
import type { Scheduler, StepOptions } from "../../lib/schedulers/contract.js";
import { schedulerFromConfig } from "../../lib/schedulers/known.js";
import type { TauFunction } from "../../lib/schedulers/sa-solver.js";
import { Tensor } from "../../lib/torch/tensor.js";

export const LDM = {
  beta_schedule: "scaled_linear",
  beta_start: 0.0015,
  beta_end: 0.0195,
  clip_sample: false,
} as const;

/** Normal data. */
export interface Gaussian {
  readonly mean: number;
  readonly deviation: number;
}

/** A scheduler of any class with what single classes have. */
type AnyScheduler = Scheduler & {
  readonly sigmas?: Float32Array;
  readonly alphasCumprod: Float32Array;
  tauFunc?: TauFunction;
};

/** One state of a run: x = x_0 + level * noise. */
export interface State {
  readonly level: number;
  readonly values: readonly number[];
  /** The timestep that goes on from it; undefined at the end. */
  readonly timestep?: number;
}

/** Make a scheduler with a schedule. @param tau SASolver's tau, the same at each timestep */
export function scheduled(className: string, config: JsonObject, steps: number, tau?: number): AnyScheduler {
  const scheduler = schedulerFromConfig({ ...LDM, ...config, _class_name: className }) as AnyScheduler;
  if (tau !== undefined) scheduler.tauFunc = () => tau;
  scheduler.setTimesteps(steps);
  return scheduler;
}

const read = (tensor: Tensor): number[] => Array.from(tensor.dataSync() as Float32Array);
const make = (values: readonly number[]): Tensor => Tensor.from(Float32Array.from(values), [values.length, 1, 1, 1]);

/**
 * Denoise by the exact network, which predicts the noise: E[noise | x] = level * (x - mean) / (deviation^2 + level^2).
 * @param noise what the first sample is made of: 0 + the first level times this
 * @returns every state, the first sample's first
 */
export function denoise(
  scheduler: AnyScheduler,
  { mean, deviation }: Gaussian,
  noise: readonly number[],
  options: StepOptions = {},
): State[] {
  const states: State[] = [];
  let sample: Tensor | undefined;
  for (const [i, timestep] of scheduler.timesteps.entries()) {
    const first: Tensor = sample ?? make(noise.map((z) => z * scheduler.initNoiseSigma));
    const x = read(first);
    const scaled = read(scheduler.scaleModelInput(first, timestep));
    const at = x.findIndex((value) => value !== 0);
    const { level, scale } = levelOf(scheduler, i, timestep, (x[at] ?? NaN) / (scaled[at] ?? NaN));
    const values = x.map((value) => value / scale);
    states.push({ level, values, timestep });
    const output = make(values.map((value) => (level * (value - mean)) / (deviation ** 2 + level ** 2)));
    sample = scheduler.step(output, timestep, first, options).prevSample;
  }
  const level = scheduler.sigmas?.at(-1) ?? 0;
  const scale = scheduler.initNoiseSigma === 1 ? 1 / Math.sqrt(1 + level ** 2) : 1;
  states.push({ level, values: read(sample ?? make([])).map((value) => value / scale) });
  return states;
}

/** The noise level of a state, and what x_0 is scaled by in it. @param ratio of a sample and the network's input */
function levelOf(
  scheduler: AnyScheduler,
  index: number,
  timestep: number,
  ratio: number,
): { readonly level: number; readonly scale: number } {
  if (ratio > 1) return { level: Math.sqrt(ratio ** 2 - 1), scale: 1 };
  const alpha = scheduler.alphasCumprod[timestep] ?? NaN;
  const level = scheduler.sigmas?.[index] ?? Math.sqrt((1 - alpha) / alpha);
  return { level, scale: 1 / Math.sqrt(1 + level ** 2) };
}

/** What a deviation from the mean is multiplied by between two levels along the ODE; squared, its mean along the SDE. */
export function decay(deviation: number, from: number, to: number): number {
  return Math.sqrt((deviation ** 2 + to ** 2) / (deviation ** 2 + from ** 2));
}
