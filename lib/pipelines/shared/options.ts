import { InvalidArgumentError, throwIfAborted } from "../../errors.js";
import type { Image } from "../../image/image.js";
import { Generator } from "../../torch/generator.js";
import { checkGenerators, randomGenerator } from "../../schedulers/shared/noise.js";
import type { Scheduler } from "../../schedulers/contract.js";
import {
  checkBoolean,
  checkFunction,
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  checkSignal,
  unexpected,
} from "../../validate.js";
import { type CacheOptions, type CachePlan, planCache } from "./cache.js";
import { checkMemory } from "./memory.js";
import { checkTimesteps, decoderScale, latentSizes, type LDMComponents } from "./components.js";
import { type ImagesOf, OUTPUT_TYPES, type OutputType } from "./decode.js";

/** Where a run stands. */
export interface Progress {
  /** Steps done, from 1 to {@link Progress.steps}. */
  readonly step: number;
  readonly steps: number;
  /** The timestep that was just done. */
  readonly timestep: number;
}

/** Options of {@link LDMPipeline.generate} and {@link LDMPipeline.stream}. */
export interface RunOptions<Type extends OutputType> {
  /** Number of images; default 1. */
  batchSize?: number;
  /** Where all noise is drawn from: one for the batch, or an array of exactly one per image. */
  generator?: Generator | readonly Generator[];
  /** Instead of a generator: `Generator.fromSeed(seed)` for this run. Default: a random one. */
  seed?: number | bigint;
  /** The weight of fresh noise in each step, in [0, 1]; default 0. */
  eta?: number;
  /** Default 50. */
  numInferenceSteps?: number;
  /** Instead of a number of steps: the timesteps to visit, falling, for schedulers that take them. */
  timesteps?: readonly number[];
  /** Instead of a number of steps: the noise levels, falling, the last one where the run ends, for schedulers that take them. */
  sigmas?: readonly number[];
  /** Reuse deep features of the UNet between steps, for speed; default: never. */
  cache?: CacheOptions;
  /** What the images are given as; default `"image"`. */
  outputType?: Type;
  /** In pixels; default: what the network was made for. */
  height?: number;
  /** In pixels; default: what the network was made for. */
  width?: number;
  /** Give images that hold NaN or infinity too, instead of `ERR_NON_FINITE_OUTPUT`; default false. */
  allowNonFinite?: boolean;
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
  /** What the clean images are predicted to be, as small as the latents, one per image; their colours only resemble the images'. */
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
  "timesteps",
  "sigmas",
  "cache",
  "outputType",
  "height",
  "width",
  "allowNonFinite",
  "signal",
] as const;

export const GENERATE_OPTIONS: readonly string[] = [...RUN_OPTIONS, "onProgress"];
export const STREAM_OPTIONS: readonly string[] = [...RUN_OPTIONS, "previewEvery"];

/** A run whose every option has been checked. */
export interface RunPlan<Type extends OutputType = OutputType> {
  /** The run's own copy, its schedule set. */
  readonly scheduler: Scheduler;
  readonly eta: number;
  readonly generator: Generator | readonly Generator[];
  /** Whether the generator was made for this run, and ends with it. */
  readonly ownsGenerator: boolean;
  /** `[batch, channels, height, width]` */
  readonly latentShape: readonly [number, number, number, number];
  readonly outputType: Type;
  /** What latents are divided by before they are decoded. */
  readonly scalingFactor: number;
  readonly allowNonFinite: boolean;
  /** Which evaluations reuse deep features; undefined: none. */
  readonly cache: CachePlan | undefined;
  /** Ends the run: each has one of its own, so that runs take turns. */
  readonly controller: AbortController;
  /** The controller's. */
  readonly signal: AbortSignal;
  /** The caller's signal, which the run follows while it lasts. */
  readonly callerSignal: AbortSignal | undefined;
  /** Called after each step and waited for. */
  readonly onProgress: ((progress: Progress) => unknown) | undefined;
  /** Steps from one preview to the next; undefined: none. */
  readonly previewEvery: number | undefined;
  /** Throws if the run must not go on. */
  readonly checkAlive: () => void;
}

type ScheduleOptions = Pick<RunOptions<OutputType>, "numInferenceSteps" | "timesteps" | "sigmas">;
type AllOptions<Type extends OutputType> = GenerateOptions<Type> & StreamOptions<Type>;

/** What a run takes from its pipeline. */
export interface RunContext {
  readonly scalingFactor: number;
  /** Throws if the pipeline is disposed. */
  readonly checkAlive: () => void;
}

/**
 * Check all options of a run against each other and the components, before any work is done.
 * @param method which method's options they are
 * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` naming the option; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a
 *   schedule that the components cannot run; AbortError
 */
export function planRun<Type extends OutputType>(
  components: LDMComponents,
  options: GenerateOptions<Type> | StreamOptions<Type> | undefined,
  method: "generate" | "stream",
  { scalingFactor, checkAlive }: RunContext,
): RunPlan<Type> {
  const known = method === "generate" ? GENERATE_OPTIONS : STREAM_OPTIONS;
  const given: Partial<AllOptions<Type>> = checkOptions<AllOptions<Type>>(options, known, `LDMPipeline.${method}`);
  // Undefined is a default; null, which is nothing to any of them, is not.
  const { batchSize: batch = 1, eta: weight = 0, outputType: type = "image" } = given;
  const onProgress = checkFunction(given.onProgress, "onProgress");
  const callerSignal = checkSignal(given.signal, "signal");
  const batchSize = checkInteger(batch, "batchSize", 1);
  const eta = checkNumber(weight, "eta", 0, 1);
  const outputType = checkOneOf(type, "outputType", OUTPUT_TYPES) as Type;
  const allowNonFinite = checkBoolean(given.allowNonFinite ?? false, "allowNonFinite");
  if (outputType === "image") checkImageChannels(components);
  const previewEvery =
    given.previewEvery === undefined ? undefined : checkInteger(given.previewEvery, "previewEvery", 1);
  const latentShape = [
    batchSize,
    components.unet.config.in_channels,
    ...latentSize(components, given.height, given.width),
  ] as const;
  const scheduler = scheduleRun(components, given, eta);
  const cache = planCache(given.cache, components.unet, scheduler.timesteps.length);
  throwIfAborted(callerSignal);
  checkMemory(components, latentShape, outputType);
  // Last, since a generator made for the run is not to be left behind by a check that fails.
  const generator = chooseGenerator(given.generator, given.seed, batchSize, components);
  const controller = new AbortController();
  return {
    scheduler,
    eta,
    generator,
    ownsGenerator: given.generator === undefined,
    latentShape,
    outputType,
    scalingFactor,
    allowNonFinite,
    cache,
    controller,
    signal: controller.signal,
    callerSignal,
    onProgress,
    previewEvery,
    checkAlive: () => {
      checkAlive();
      throwIfAborted(controller.signal);
    },
  };
}

/** Take a copy of the scheduler through the schedule: concurrent runs share none. */
function scheduleRun({ scheduler, unet }: LDMComponents, given: ScheduleOptions, eta: number): Scheduler {
  const { numInferenceSteps, timesteps, sigmas } = given;
  const own = scheduler.clone();
  if (timesteps === undefined && sigmas === undefined)
    own.setTimesteps(checkInteger(numInferenceSteps === undefined ? 50 : numInferenceSteps, "numInferenceSteps", 1));
  else if (numInferenceSteps !== undefined)
    throw new InvalidArgumentError(
      "Expected numInferenceSteps, timesteps or sigmas but received more than one of them",
    );
  else own.setTimesteps(undefined, { timesteps, sigmas });
  own.checkSteps({ eta });
  checkTimesteps(unet, own.timesteps);
  return own;
}

function chooseGenerator(
  generator: unknown,
  seed: number | bigint | undefined,
  batchSize: number,
  { unet }: LDMComponents,
): Generator | readonly Generator[] {
  if (generator !== undefined && seed !== undefined)
    throw new InvalidArgumentError("Expected generator or seed but received both");
  if (generator !== undefined) return checkGenerators(generator, batchSize, unet.device);
  return seed === undefined ? randomGenerator() : Generator.fromSeed(seed);
}

/** Height and width of the latents: from the options, in pixels, or else from the UNet's config. */
function latentSize({ unet, vqvae }: LDMComponents, height: unknown, width: unknown): readonly [number, number] {
  const { sample_size: size } = unet.config;
  const [configHeight, configWidth] = typeof size === "number" ? [size, size] : (size ?? []);
  const { multiple, least } = latentSizes(unet);
  const scale = decoderScale(vqvae);
  const side = (pixels: unknown, option: string, fallback: number | undefined): number => {
    if (pixels === undefined) {
      if (fallback === undefined) throw unexpected("an integer, since the unet's sample_size is null,", option, pixels);
      if (fallback % multiple === 0 && fallback >= least) return fallback;
      const step = (scale ?? 1) * multiple;
      throw unexpected(
        `a multiple of ${step}, since the unet cannot take its own sample_size of ${fallback},`,
        option,
        pixels,
      );
    }
    if (scale === undefined)
      throw new InvalidArgumentError(
        `Expected no ${option}: the config does not say the decoder's scale factor (vae_scale_factor)`,
      );
    const step = scale * multiple;
    const checked = checkInteger(pixels, option, scale * least);
    if (checked % step !== 0) throw unexpected(`a multiple of ${step}`, option, pixels);
    return checked / scale;
  };
  return [side(height, "height", configHeight), side(width, "width", configWidth)];
}

function checkImageChannels({ vqvae }: LDMComponents): void {
  const { out_channels: channels } = vqvae.config;
  if (channels === 1 || channels === 3 || channels === 4) return;
  throw unexpected(
    `"array" or "tensor", since pictures of ${channels} channels cannot be shown,`,
    "outputType",
    "image",
  );
}
