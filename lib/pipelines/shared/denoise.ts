import type { Tensor } from "../../torch/tensor.js";
import { op, opAsync } from "../../torch/tensor.js";
import { drawNoise } from "../../schedulers/shared/noise.js";
import type { Progress } from "./generate-options.js";
import type { DenoisingNetwork, LDMComponents } from "./pipeline-parts.js";
import type { RunPlan } from "./run-plan.js";

/** What is known after a step. */
export interface DenoisedStep extends Progress {
  /** x_0 as predicted at this step; freed when the next step begins. */
  readonly predOriginalSample: Tensor | undefined;
}

/**
 * Denoise fresh latents, one network evaluation for each `next()`.
 * @returns the clean latents `[batch, channels, height, width]`, the caller's to free; leaving early frees everything
 */
export async function* denoise(
  { unet }: LDMComponents,
  plan: RunPlan,
): AsyncGenerator<DenoisedStep, Tensor, undefined> {
  const { scheduler, eta, generator, checkAlive } = plan;
  const { timesteps } = scheduler;
  let latents = drawLatents(unet, plan);
  let finished = false;
  try {
    for (const [i, timestep] of timesteps.entries()) {
      checkAlive();
      while (isElsewhere(latents, unet)) latents = await moveTo(latents, unet);
      const modelOutput = await predict(unet, latents, timestep, plan);
      checkAlive();
      const { prevSample, predOriginalSample } = scheduler.step(modelOutput, timestep, latents, { eta, generator });
      latents.dispose();
      latents = prevSample;
      if (modelOutput !== predOriginalSample) modelOutput.dispose();
      try {
        yield { step: i + 1, steps: timesteps.length, timestep, predOriginalSample };
      } finally {
        predOriginalSample?.dispose();
      }
    }
    finished = true;
    return latents;
  } finally {
    if (!finished) latents.dispose();
  }
}

/** Draw the first latents: in float32 for every dtype, so that one seed is one picture, then cast. */
function drawLatents(unet: DenoisingNetwork, { scheduler, generator, latentShape }: RunPlan): Tensor {
  const noise = drawNoise(latentShape, generator, unet.device, "float32");
  const scaled = op("mul.Scalar", noise, scheduler.initNoiseSigma);
  noise.dispose();
  if (unet.dtype === "float32") return scaled;
  const cast = op("to.dtype", scaled, unet.dtype);
  scaled.dispose();
  return cast;
}

async function predict(
  unet: DenoisingNetwork,
  latents: Tensor,
  timestep: number,
  { scheduler, signal }: RunPlan,
): Promise<Tensor> {
  const input = scheduler.scaleModelInput(latents, timestep);
  const { sample } = await unet.forward(input, timestep, { signal });
  if (input !== latents) input.dispose();
  const channels = unet.config.in_channels;
  if (sample.shape[1] === channels) return sample;
  // A network that learned the variance too gives it in the second half.
  const mean = op("slice.Tensor", sample, 1, 0, channels);
  sample.dispose();
  return mean;
}

type Place = Pick<DenoisingNetwork, "device" | "dtype">;

/** Whether a part is not where the latents are; to be asked right before they meet, since any wait may bring a move. */
function isElsewhere({ device, dtype }: Tensor, part: Place): boolean {
  return device !== part.device || dtype !== part.dtype;
}

/** Bring latents to where a part is now: a pipeline may be moved while it runs. */
async function moveTo(latents: Tensor, part: Place): Promise<Tensor> {
  const moved = await latents.to(part.device, part.dtype);
  if (moved !== latents) latents.dispose();
  return moved;
}

/**
 * Decode latents: as they are, in one batch, where bits are to equal diffusers'; else image by image, which takes no longer and far
 * less memory.
 * @param latents `[batch, channels, height, width]`; freed
 * @returns pictures in about [-1, 1], `[n, channels, height, width]` each, in order, the caller's to free
 */
export async function* decode(
  { vqvae }: LDMComponents,
  latents: Tensor,
  scalingFactor: number,
  { signal, checkAlive }: RunPlan,
): AsyncGenerator<Tensor, void, undefined> {
  let held = latents;
  try {
    if (isElsewhere(held, vqvae)) held = await moveTo(held, vqvae);
    const scaled = await opAsync("div.Scalar", held, scalingFactor);
    held.dispose();
    held = scaled;
    const [batch = 1] = held.shape;
    const size = vqvae.optimize ? 1 : batch;
    for (let start = 0; start < batch; start += size) {
      checkAlive();
      while (isElsewhere(held, vqvae)) held = await moveTo(held, vqvae);
      const part = op("slice.Tensor", held, 0, start, start + size);
      try {
        yield (await vqvae.decode(part, { signal })).sample;
      } finally {
        part.dispose();
      }
    }
  } finally {
    held.dispose();
  }
}
