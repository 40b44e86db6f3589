import type { Generator } from "../../torch/generator.js";
import type { Image } from "../../image/image.js";
import type { ImagesOf, OutputType } from "./image-pipeline-output.js";

/** Where a run stands. */
export interface Progress {
  /** Steps done, from 1 to {@link Progress.steps}. */
  readonly step: number;
  readonly steps: number;
  /** The timestep that was just done. */
  readonly timestep: number;
}

/** Options of all runs. */
interface RunOptions<Type extends OutputType> {
  /** Number of images; default 1. */
  batchSize?: number;
  /** Where all noise is drawn from: one for the batch, or an array of exactly one an image. */
  generator?: Generator | readonly Generator[];
  /** Instead of a generator: `Generator.fromSeed(seed)` for this run. Default: a random one. */
  seed?: number | bigint;
  /** The weight of fresh noise in each step, in [0, 1]; default 0. */
  eta?: number;
  /** Default 50. */
  numInferenceSteps?: number;
  /** What the images are given as; default `"image"`. */
  outputType?: Type;
  /** In pixels; default: what the network was made for. */
  height?: number;
  /** In pixels; default: what the network was made for. */
  width?: number;
  /** Stops the run: between steps, between the stages of decoding, and without waiting for what runs. */
  signal?: AbortSignal;
}

/** Options of {@link LDMPipeline.generate}. */
export interface GenerateOptions<Type extends OutputType = "image"> extends RunOptions<Type> {
  /** Called after each step; a promise is waited for, and what it throws ends the run. */
  onProgress?: (progress: Progress) => unknown;
}

/** Options of {@link LDMPipeline.stream}. */
export interface StreamOptions<Type extends OutputType = "image"> extends RunOptions<Type> {
  /** Give a preview every so many steps, and at the last; default: none. */
  previewEvery?: number;
}

/** One event of {@link LDMPipeline.stream}: one after each step, and a last one with the images. */
export interface StreamEvent<Type extends OutputType = "image"> extends Progress {
  /** What the clean images are predicted to be, as small as the latents, one an image; their colours only resemble the images'. */
  readonly preview?: readonly Image[];
  /** In the last event only. */
  readonly images?: ImagesOf<Type>;
}

const RUN_OPTIONS = [
  "batchSize",
  "generator",
  "seed",
  "eta",
  "numInferenceSteps",
  "outputType",
  "height",
  "width",
  "signal",
] as const;

export const GENERATE_OPTIONS: readonly string[] = [...RUN_OPTIONS, "onProgress"];
export const STREAM_OPTIONS: readonly string[] = [...RUN_OPTIONS, "previewEvery"];
