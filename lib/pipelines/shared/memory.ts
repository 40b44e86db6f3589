import { LatentDiffusionError } from "../../errors.js";
import type { DType } from "../../native/contract.js";
import { availableMemory } from "./available-memory.js";
import { decoderScale, type DenoisingNetwork, type LatentDecoder, type LDMComponents } from "./components.js";
import type { OutputType } from "./decode.js";

const GIB = 2 ** 30;

/**
 * What was measured, as peaks of resident memory for each latent pixel and each image, of the full-size networks, of some a quarter as
 * wide and of tiny ones: about this, and no less.
 */
const MEASURED = {
  /** How often a UNet holds the features of its last blocks: what they are concatenated to, and that normalised. */
  upFeatures: 2,
  /** How often a decoder holds its widest features, optimised, where images are decoded one by one. */
  decoderFeatures: 2.5,
  /** How much more a network takes that is not optimised. */
  plainUNet: 1.4,
  plainDecoder: 1.6,
};

/**
 * Refuse a run that cannot fit into the memory that is left: the system might end the process instead of refusing an allocation.
 * The estimate is low, so that no run is refused that could fit; networks on a GPU are not counted.
 * @param latentShape `[batch, channels, height, width]`
 * @throws LatentDiffusionError `ERR_OUT_OF_MEMORY` with the estimate and what is left
 */
export function checkMemory(
  components: LDMComponents,
  latentShape: readonly [number, number, number, number],
  outputType: OutputType,
): void {
  const needed = estimateRun(components, latentShape, outputType);
  const left = availableMemory();
  if (needed <= left) return;
  const [batch, , height, width] = latentShape;
  throw new LatentDiffusionError(
    "ERR_OUT_OF_MEMORY",
    `Expected a run that fits into the ${inGiB(left)} of memory that are left but received one that needs at least ${inGiB(needed)}: ` +
      `${batch} image${batch === 1 ? "" : "s"} of ${height} x ${width} latents; take a smaller batchSize, height or width`,
  );
}

/** The bytes of main memory that a run needs at least, its networks' weights apart. */
export function estimateRun(
  { unet, vqvae }: LDMComponents,
  [batch, channels, height, width]: readonly [number, number, number, number],
  outputType: OutputType,
): number {
  const latents = batch * channels * height * width;
  const noise = latents * 4;
  const denoising = unet.device === "cpu" ? batch * denoisingFeatures(unet, height * width) + 3 * latents : 0;
  const pixels = height * width * (decoderScale(vqvae) ?? 1) ** 2;
  const features = vqvae.device === "cpu" ? decoderFeatures(vqvae) * pixels : 0;
  const decodedAtOnce = vqvae.optimize ? 1 : batch;
  const pictures =
    batch * pixels * vqvae.config.out_channels * { image: 1, array: 4, tensor: BYTES[vqvae.dtype] ?? 4 }[outputType];
  return Math.max(
    noise,
    denoising * (BYTES[unet.dtype] ?? 4),
    (latents + decodedAtOnce * features) * (BYTES[vqvae.dtype] ?? 4) + pictures,
  );
}

const BYTES: Readonly<Partial<Record<DType, number>>> = { float64: 8, float32: 4, float16: 2, bfloat16: 2 };

/**
 * The values that a UNet holds at once for one image: at each level what was kept on the way down, for its own way up and for the levels
 * above, and the features of one block. Each level has a quarter of the pixels of the one above.
 */
function denoisingFeatures(unet: DenoisingNetwork, size: number): number {
  const { block_out_channels: channels = [], layers_per_block: layers = 1 } = unet.config;
  let kept = 0;
  let most = 0;
  for (const [level, count] of channels.entries()) {
    const pixels = size / 4 ** level;
    kept += layers * count * pixels;
    const below = channels[level + 1] ?? count;
    most = Math.max(most, kept + MEASURED.upFeatures * (count + below) * pixels);
  }
  return most * (unet.optimize ? 1 : MEASURED.plainUNet);
}

/** The values that a decoder holds at once for each pixel of one picture: the last block takes the channels of the one before. */
function decoderFeatures({
  config: { block_out_channels: [first = 1, second = first] = [] },
  optimize,
}: LatentDecoder): number {
  return MEASURED.decoderFeatures * second * (optimize ? 1 : MEASURED.plainDecoder);
}

function inGiB(bytes: number): string {
  return `${(bytes / GIB).toPrecision(3)} GiB`;
}
