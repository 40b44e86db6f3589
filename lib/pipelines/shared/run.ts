import { Generator } from "../../torch/generator.js";
import { anchorError } from "../../native/calls.js";
import { decode, denoise } from "./denoise.js";
import type { StreamEvent } from "./generate-options.js";
import type { OutputType } from "./image-pipeline-output.js";
import type { LDMComponents } from "./pipeline-parts.js";
import { finishImages } from "./postprocess.js";
import { previewLatents } from "./preview.js";
import type { RunPlan } from "./run-plan.js";

/**
 * Carry out a run, as far as it is asked for: each `next()` is one step, the last decodes.
 * @param site where the caller stands, for the stacks of errors
 * @returns one event a step, and one with the images
 */
export async function* runEvents<Type extends OutputType>(
  parts: LDMComponents,
  scalingFactor: number,
  plan: RunPlan<Type>,
  site: { stack?: string },
): AsyncGenerator<StreamEvent<Type>, void, undefined> {
  const denoising = denoise(parts, plan);
  try {
    let last = { step: 0, steps: 0, timestep: 0 };
    let result = await denoising.next();
    while (!result.done) {
      const { predOriginalSample, ...progress } = result.value;
      last = progress;
      const preview =
        predOriginalSample && wantsPreview(plan, progress) ? await previewLatents(predOriginalSample) : undefined;
      yield preview ? { ...progress, preview } : progress;
      result = await denoising.next();
    }
    yield { ...last, images: await finishImages(decode(parts, result.value, scalingFactor, plan), plan.outputType) };
  } catch (error) {
    throw anchorError(error, site);
  } finally {
    await denoising.return(undefined as never);
    if (plan.ownsGenerator && plan.generator instanceof Generator) plan.generator.dispose();
  }
}

function wantsPreview({ previewEvery }: RunPlan, { step, steps }: { step: number; steps: number }): boolean {
  return previewEvery !== undefined && (step % previewEvery === 0 || step === steps);
}
