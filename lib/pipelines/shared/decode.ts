import { Image, type ImageChannels } from "../../image/image.js";
import type { NumericArray } from "../../native/contract.js";
import { op, opAsync, type Tensor } from "../../torch/tensor.js";
import { applyInTurn, isAllFinite, runAt } from "../../torch/transient.js";
import type { LatentDecoder } from "./components.js";
import { nonFinite } from "./denoise.js";

/** `"image"`: pictures to look at and to save; `"array"`: numbers for JavaScript; `"tensor"`: for more LibTorch work. */
export type OutputType = "image" | "array" | "tensor";

export const OUTPUT_TYPES: readonly OutputType[] = ["image", "array", "tensor"];

/** A batch of pictures as numbers. */
export interface ImageArray {
  /** Row-major, in [0, 1]. */
  readonly data: Float32Array;
  /** `[batch, height, width, channels]`. */
  readonly shape: readonly [batch: number, height: number, width: number, channels: number];
}

/** A batch of pictures in the form that `outputType` names; a tensor is `[batch, channels, height, width]` in [0, 1]. */
export type ImagesOf<Type extends OutputType> = { image: Image[]; array: ImageArray; tensor: Tensor }[Type];

/**
 * What a pipeline returns. Iterable, so that `const [images] = await pipe.generate()` reads as Python's `return_dict=False`.
 * @see diffusers.ImagePipelineOutput
 */
export class ImagePipelineOutput<Type extends OutputType = "image"> implements Iterable<ImagesOf<Type>> {
  readonly images: ImagesOf<Type>;

  constructor(images: ImagesOf<Type>) {
    this.images = images;
  }

  /** The images once more, as `output[0]` in Python: it makes the output a tuple of one for TypeScript too. */
  get 0(): ImagesOf<Type> {
    return this.images;
  }

  *[Symbol.iterator](): Generator<ImagesOf<Type>, void, undefined> {
    yield this.images;
  }
}

/** How latents are decoded. */
export interface DecodeOptions {
  /** What latents are divided by first. */
  readonly scalingFactor: number;
  /** Let NaN and infinity pass; default false. */
  readonly allowNonFinite?: boolean;
  readonly signal?: AbortSignal;
  /** Throws if the run must not go on; called before every forward. */
  readonly checkAlive?: () => void;
}

/**
 * Decode latents: in one batch without `optimize`, where bits are to equal diffusers'; else image by image, which takes no longer and
 * far less memory.
 * @param latents `[batch, channels, height, width]`; freed, on every path
 * @param vqvae may be moved while it runs: the latents follow
 * @returns pictures in about [-1, 1], `[n, channels, height, width]` each, in order, the caller's to free
 * @throws AbortError; LatentDiffusionError `ERR_NON_FINITE_OUTPUT`; what the decoder throws
 */
export async function* decode(
  latents: Tensor,
  vqvae: LatentDecoder,
  { scalingFactor, allowNonFinite, signal, checkAlive }: DecodeOptions,
): AsyncGenerator<Tensor, void, undefined> {
  const held: [Tensor] = [latents];
  try {
    const scaled = await runAt(vqvae, held, () => opAsync("div.Scalar", held[0], scalingFactor));
    held[0].dispose();
    held[0] = scaled;
    const [batch = 1] = scaled.shape;
    const size = vqvae.optimize ? 1 : batch;
    for (let start = 0; start < batch; start += size) {
      const { sample } = await runAt(vqvae, held, async () => {
        checkAlive?.();
        const latents = op("slice.Tensor", held[0], 0, start, start + size);
        try {
          return await vqvae.decode(latents, { signal });
        } finally {
          latents.dispose();
        }
      });
      if (!allowNonFinite) await checkPictures(sample, start, batch);
      yield sample;
    }
  } finally {
    held[0].dispose();
  }
}

/** The latents were finite: what is not began here. */
async function checkPictures(pictures: Tensor, first: number, batch: number): Promise<void> {
  let finite = false;
  try {
    finite = await isAllFinite(pictures);
  } finally {
    if (!finite) pictures.dispose();
  }
  const [count = 1] = pictures.shape;
  const which = count === 1 ? `image ${first + 1}` : `images ${first + 1} to ${first + count}`;
  if (!finite) throw nonFinite("vqvae", `while decoding ${which} of ${batch}, after the last step`);
}

type Step = (x: Tensor) => Promise<Tensor>;

/**
 * Bring decoded pictures into the form that was asked for, each operation on the executor: a picture is large for the event loop.
 * @param decoded pictures in about [-1, 1], `[n, channels, height, width]` each; freed
 * @see diffusers.image_processor.VaeImageProcessor
 */
export async function finishImages<Type extends OutputType>(
  decoded: AsyncIterable<Tensor>,
  outputType: Type,
): Promise<ImagesOf<Type>> {
  const form = { image: toImages, array: toArray, tensor: toTensor }[outputType];
  return (await form(decoded)) as ImagesOf<Type>;
}

async function toImages(decoded: AsyncIterable<Tensor>): Promise<Image[]> {
  const images: Image[] = [];
  for await (const pictures of decoded) {
    const {
      data,
      shape: [batch, height, width, channels],
    } = await readPixels(pictures, [...NORMALIZE, ...QUANTIZE]);
    const size = height * width * channels;
    for (let i = 0; i < batch; i++) {
      images.push(
        Image.from(data.slice(i * size, (i + 1) * size) as Uint8Array, {
          width,
          height,
          channels: channels as ImageChannels,
        }),
      );
    }
  }
  return images;
}

async function toArray(decoded: AsyncIterable<Tensor>): Promise<ImageArray> {
  const batches: ImageArray[] = [];
  for await (const pictures of decoded) {
    batches.push((await readPixels(pictures, [...NORMALIZE, (x) => opAsync("to.dtype", x, "float32")])) as ImageArray);
  }
  const [first] = batches;
  if (batches.length === 1 && first) return first;
  const data = new Float32Array(batches.reduce((sum, own) => sum + own.data.length, 0));
  let at = 0;
  for (const own of batches) {
    data.set(own.data, at);
    at += own.data.length;
  }
  const [, height = 0, width = 0, channels = 0] = first?.shape ?? [];
  return { data, shape: [batches.reduce((sum, { shape }) => sum + shape[0], 0), height, width, channels] };
}

async function toTensor(decoded: AsyncIterable<Tensor>): Promise<Tensor> {
  const batches: Tensor[] = [];
  try {
    for await (const pictures of decoded) batches.push(await applyInTurn(pictures, NORMALIZE));
    return await opAsync("cat", batches, 0);
  } finally {
    batches.forEach((own) => own.dispose());
  }
}

/** From [-1, 1] to [0, 1]. */
const NORMALIZE: readonly Step[] = [
  (x) => opAsync("div.Scalar", x, 2),
  (x) => opAsync("add.Scalar", x, 0.5),
  (x) => opAsync("clamp", x, 0, 1),
];

/** To 0 to 255, halves to even, as numpy rounds; 16-bit floats cannot hold that many levels. @see DiffusionPipeline.numpy_to_pil */
const QUANTIZE: readonly Step[] = [
  (x) => opAsync("to.dtype", x, x.dtype === "float64" ? "float64" : "float32"),
  (x) => opAsync("mul.Scalar", x, 255),
  (x) => opAsync("round", x),
  (x) => opAsync("to.dtype", x, "uint8"),
];

async function readPixels(
  pictures: Tensor,
  steps: readonly Step[],
): Promise<{ data: NumericArray; shape: ImageArray["shape"] }> {
  const [batch = 0, channels = 0, height = 0, width = 0] = pictures.shape;
  const pixels = await applyInTurn(pictures, [
    ...steps,
    (x) => opAsync("permute", x, [0, 2, 3, 1]),
    (x) => opAsync("contiguous", x),
  ]);
  try {
    return { data: await pixels.data(), shape: [batch, height, width, channels] };
  } finally {
    pixels.dispose();
  }
}
