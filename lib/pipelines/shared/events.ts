import { followSignal } from "../../errors.js";
import { Image } from "../../image/image.js";
import { anchorError } from "../../native/calls.js";
import { Generator } from "../../torch/generator.js";
import type { Tensor } from "../../torch/tensor.js";
import type { LDMComponents } from "./components.js";
import { decode, finishImages, type OutputType } from "./decode.js";
import { denoise, type DenoisedStep, drawLatents } from "./denoise.js";
import type { RunPlan, StreamEvent } from "./options.js";

/**
 * Carry out a run, as far as it is asked for: each `next()` is one step, the last decodes.
 * @param site where the caller stands, for the stacks of errors
 * @returns one event a step, and one with the images
 */
export async function* runEvents<Type extends OutputType>(
  { unet, vqvae }: LDMComponents,
  plan: RunPlan<Type>,
  site: { stack?: string },
): AsyncGenerator<StreamEvent<Type>, void, undefined> {
  let denoising: AsyncGenerator<DenoisedStep, Tensor, undefined> | undefined;
  const letGo = followSignal(plan.callerSignal, plan.controller);
  try {
    plan.checkAlive();
    denoising = denoise(await drawLatents(unet, plan), unet, plan);
    let last = { step: 0, steps: 0, timestep: 0 };
    let result = await denoising.next();
    while (!result.done) {
      const { step, steps, timestep, predOriginalSample } = result.value;
      last = { step, steps, timestep };
      const preview =
        predOriginalSample && wantsPreview(plan, last) ? await previewLatents(predOriginalSample) : undefined;
      yield preview ? { ...last, preview } : last;
      result = await denoising.next();
    }
    yield { ...last, images: await finishImages(decode(result.value, vqvae, plan), plan.outputType) };
  } catch (error) {
    throw anchorError(error, site);
  } finally {
    letGo();
    await denoising?.return(undefined as never);
    // Solvers of higher order keep what earlier steps predicted.
    plan.scheduler.dispose?.();
    if (plan.ownsGenerator && plan.generator instanceof Generator) plan.generator.dispose();
  }
}

function wantsPreview({ previewEvery }: RunPlan, { step, steps }: { step: number; steps: number }): boolean {
  return previewEvery !== undefined && (step % previewEvery === 0 || step === steps);
}

/** The events of a run; leaving the loop over them early stops the work. */
export interface EventStream<Type extends OutputType = "image"> extends AsyncIterableIterator<StreamEvent<Type>> {
  next(): Promise<IteratorResult<StreamEvent<Type>, undefined>>;
  return(): Promise<IteratorResult<StreamEvent<Type>, undefined>>;
  [Symbol.asyncIterator](): EventStream<Type>;
}

/**
 * Make a run's events an iterator whose `return` does not wait for what runs, but stops it.
 * @param start begins the run; nothing is done before the first `next()`
 * @param stop tells the run to give up
 */
export function eventStream<Type extends OutputType>(
  events: AsyncGenerator<StreamEvent<Type>, void, undefined>,
  stop: () => void,
): EventStream<Type> {
  let stopped = false;
  const end: IteratorResult<StreamEvent<Type>, undefined> = { done: true, value: undefined };
  return {
    async next() {
      try {
        const result = await events.next();
        return result.done ? end : result;
      } catch (error) {
        // Who left the loop does not want to hear that the work was stopped.
        if (stopped) return end;
        throw error;
      }
    },
    async return() {
      stopped = true;
      stop();
      // A generator that waits takes this as an exception; one that was stopped has ended by its own.
      await events.return(undefined).catch(() => undefined);
      return end;
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

/** So many standard deviations from the mean are shown; the rest is clipped. */
const SHOWN_DEVIATIONS = 2.5;

/**
 * Picture latents themselves: the first three channels as red, green and blue, or the first as grey, each image stretched to its
 * own range. It shows what is where; the decoder alone knows the colours.
 * @param latents floating `[batch, channels, height, width]`
 */
export async function previewLatents(latents: Tensor): Promise<Image[]> {
  const [batch = 0, channels = 0, height = 0, width = 0] = latents.shape;
  const values = (await latents.data()) as Float32Array | Float64Array;
  const plane = height * width;
  const shown = channels >= 3 ? 3 : 1;
  return Array.from({ length: batch }, (_, i) => {
    const own = values.subarray(i * channels * plane, i * channels * plane + shown * plane);
    const toByte = stretch(own);
    const data = new Uint8ClampedArray(shown * plane);
    for (let channel = 0; channel < shown; channel++) {
      for (let at = 0; at < plane; at++) data[at * shown + channel] = toByte(own[channel * plane + at] ?? 0);
    }
    return Image.from(data, { width, height, channels: shown });
  });
}

/** A map that takes the values' mean to mid-grey. */
function stretch(values: Float32Array | Float64Array): (value: number) => number {
  let sum = 0;
  let squares = 0;
  for (const value of values) {
    sum += value;
    squares += value * value;
  }
  const mean = sum / values.length;
  const deviation = Math.sqrt(Math.max(0, squares / values.length - mean * mean));
  const scale = deviation > 0 ? 127.5 / (SHOWN_DEVIATIONS * deviation) : 0;
  return (value) => 127.5 + (value - mean) * scale;
}
