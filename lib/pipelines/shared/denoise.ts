import { abortableResource, LatentDiffusionError } from "../../errors.js";
import { Generator } from "../../torch/generator.js";
import { applyInTurn, isAllFinite, runAt } from "../../torch/transient.js";
import { op, opAsync, Tensor } from "../../torch/tensor.js";
import { drawNoise } from "../../schedulers/shared/noise.js";
import type { Scheduler } from "../../schedulers/contract.js";
import { type CachePlan, FeatureCache } from "./cache.js";
import type { DenoisingNetwork } from "./components.js";

/** So many values (4 MB) are drawn on the event loop; more of them would hold it for long. */
const DRAWN_ON_LOOP = 2 ** 20;

/** How latents are denoised. */
export interface DenoiseOptions {
  /** This run's own copy, its schedule set. */
  readonly scheduler: Scheduler;
  /** Where fresh noise is drawn from. */
  readonly generator: Generator | readonly Generator[];
  /** The weight of fresh noise in each step. */
  readonly eta?: number;
  /** The index in `scheduler.timesteps` of the first step to take; default 0. */
  readonly begin?: number;
  /** Which evaluations reuse deep features; default: none. */
  readonly cache?: CachePlan;
  /** Let NaN and infinity pass; default false. */
  readonly allowNonFinite?: boolean;
  readonly signal?: AbortSignal;
  /** Throws if the run must not go on; called before every forward and after it. */
  readonly checkAlive?: () => void;
  /**
   * Called after each step, before the next: editing puts known parts of the picture back here.
   * @returns latents to go on with, which the loop then owns, or undefined to keep those of the step
   */
  readonly afterStep?: (step: DenoisedStep) => Tensor | undefined | Promise<Tensor | undefined>;
}

/** What is known after a step. */
export interface DenoisedStep {
  /** Steps done, from 1 to {@link DenoisedStep.steps}. */
  readonly step: number;
  readonly steps: number;
  /** The timestep that was just done. */
  readonly timestep: number;
  /** x_(t-1), `[batch, channels, height, width]`; the loop's own, valid until the next step begins. */
  readonly latents: Tensor;
  /** x_0 as predicted at this step; freed when the next step begins. Undefined where the scheduler gives none. */
  readonly predOriginalSample: Tensor | undefined;
}

/**
 * Denoise latents, one network evaluation for each `next()`.
 * @param latents `[batch, channels, height, width]`, noise of `scheduler.initNoiseSigma` or a noised picture; the loop's from now on
 * @param unet may be moved while it runs: the latents follow
 * @returns the clean latents, the caller's to free; an error, an abort and leaving early free everything
 * @throws AbortError; LatentDiffusionError `ERR_NON_FINITE_OUTPUT` naming the component and the step; what the components throw
 */
export async function* denoise(
  latents: Tensor,
  unet: DenoisingNetwork,
  options: DenoiseOptions,
): AsyncGenerator<DenoisedStep, Tensor, undefined> {
  const { timesteps } = options.scheduler;
  const held: [Tensor] = [latents];
  const cache = options.cache && new FeatureCache(options.cache);
  let finished = false;
  try {
    for (const [i, timestep] of timesteps.entries()) {
      if (i < (options.begin ?? 0)) continue;
      const where = { step: i + 1, steps: timesteps.length, timestep };
      const predOriginalSample = await takeStep(held, unet, where, { ...options, features: cache });
      try {
        const done: DenoisedStep = { ...where, latents: held[0], predOriginalSample };
        const edited = await options.afterStep?.(done);
        if (edited !== undefined) replace(held, edited);
        yield { ...done, latents: held[0] };
      } finally {
        predOriginalSample?.dispose();
      }
    }
    finished = true;
    return held[0];
  } finally {
    cache?.dispose();
    if (!finished) held[0].dispose();
  }
}

/** The options of a run, and what it keeps from step to step. */
interface StepOptions extends DenoiseOptions {
  readonly features: FeatureCache | undefined;
}

type Where = Pick<DenoisedStep, "step" | "steps" | "timestep">;

/**
 * Take one step, and put its latents in the place of those before.
 * @returns the predicted clean sample, the caller's to free
 */
async function takeStep(
  held: [Tensor],
  unet: DenoisingNetwork,
  where: Where,
  options: StepOptions,
): Promise<Tensor | undefined> {
  const { scheduler, eta, generator, checkAlive } = options;
  const modelOutput = await runAt(unet, held, () => {
    checkAlive?.();
    return predict(unet, held[0], where, options);
  });
  let kept: Tensor | undefined;
  try {
    checkAlive?.();
    const { prevSample, predOriginalSample, ...more } = scheduler.step(modelOutput, where.timestep, held[0], {
      eta,
      generator,
    });
    for (const output of Object.values<unknown>(more)) if (output instanceof Tensor) output.dispose();
    kept = predOriginalSample;
    const before = held[0];
    held[0] = prevSample;
    try {
      if (!options.allowNonFinite) await checkFinite(prevSample, { modelOutput, before }, where);
    } catch (error) {
      if (kept !== modelOutput) kept?.dispose();
      kept = undefined;
      throw error;
    } finally {
      if (before !== prevSample) before.dispose();
    }
    return kept;
  } finally {
    if (kept !== modelOutput) modelOutput.dispose();
  }
}

function replace(held: [Tensor], latents: Tensor): void {
  if (latents !== held[0]) held[0].dispose();
  held[0] = latents;
}

/** Run the network; nothing but its output is left. */
async function predict(
  unet: DenoisingNetwork,
  latents: Tensor,
  { step, timestep }: Where,
  { scheduler, signal, features }: StepOptions,
): Promise<Tensor> {
  const input = scheduler.scaleModelInput(latents, timestep);
  let sample: Tensor;
  try {
    if (features) sample = await features.evaluate(unet, input, { index: step - 1, timestep, signal });
    else ({ sample } = await unet.forward(input, timestep, { signal }));
  } finally {
    if (input !== latents) input.dispose();
  }
  const channels = unet.config.in_channels;
  if (sample.shape[1] === channels) return sample;
  // A network that learned the variance too gives it in the second half.
  try {
    return op("slice.Tensor", sample, 1, 0, channels);
  } finally {
    sample.dispose();
  }
}

/** One reduction after each step; only when it fails, look for the component that began it. */
async function checkFinite(
  result: Tensor,
  { modelOutput, before }: { modelOutput: Tensor; before: Tensor },
  { step, steps, timestep }: Where,
): Promise<void> {
  if (await isAllFinite(result)) return;
  const component = !(await isAllFinite(before))
    ? "latents that were given"
    : (await isAllFinite(modelOutput))
      ? "scheduler"
      : "unet";
  throw nonFinite(component, `at step ${step} of ${steps}, timestep ${timestep}`);
}

/** The error for NaN or infinity: which component, and when. */
export function nonFinite(component: string, where: string): LatentDiffusionError {
  return new LatentDiffusionError(
    "ERR_NON_FINITE_OUTPUT",
    `Expected finite numbers from the ${component} but received NaN or infinity ${where}; ` +
      "pass allowNonFinite: true to go on with them",
  );
}

/** What the first latents of a run are drawn by. */
export interface LatentOptions {
  /** `[batch, channels, height, width]` */
  readonly latentShape: readonly number[];
  readonly scheduler: Scheduler;
  readonly generator: Generator | readonly Generator[];
  readonly signal?: AbortSignal;
}

/**
 * Draw the first latents: in float32 for every dtype, so that one seed is one picture, then cast.
 * @returns noise of the scheduler's `initNoiseSigma`, in the network's dtype on its device; the caller's to free
 */
export async function drawLatents(
  { device, dtype }: DenoisingNetwork,
  { latentShape, scheduler, generator, signal }: LatentOptions,
): Promise<Tensor> {
  const count = latentShape.reduce((product, size) => product * size, 1);
  const noise =
    count <= DRAWN_ON_LOOP
      ? drawNoise(latentShape, generator, device, "float32")
      : await abortableResource(drawOnExecutor(latentShape, generator), signal, (late) => late.dispose());
  return applyInTurn(noise, [
    (x) => x.to(device),
    (x) => opAsync("mul.Scalar", x, scheduler.initNoiseSigma),
    (x) => x.to(dtype),
  ]);
}

/** Draw float32 noise where each generator is, off the event loop. All draws are queued at once, in order. */
async function drawOnExecutor(shape: readonly number[], generator: Generator | readonly Generator[]): Promise<Tensor> {
  if (generator instanceof Generator) return Generator.draw(generator, "randn", shape);
  const each = [1, ...shape.slice(1)];
  const draws = await Promise.allSettled(generator.map((from) => Generator.draw(from, "randn", each)));
  const noises = draws.flatMap((draw) => (draw.status === "fulfilled" ? [draw.value] : []));
  try {
    for (const draw of draws) if (draw.status === "rejected") throw draw.reason;
    return await opAsync("cat", noises, 0);
  } finally {
    noises.forEach((noise) => noise.dispose());
  }
}
