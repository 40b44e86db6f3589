import { Image, type ImageChannels } from "../../image/image.js";
import type { NumericArray } from "../../native/contract.js";
import { opAsync, type Tensor } from "../../torch/tensor.js";
import type { ImageArray, ImagesOf, OutputType } from "./image-pipeline-output.js";

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
  const parts: ImageArray[] = [];
  for await (const pictures of decoded) {
    parts.push((await readPixels(pictures, [...NORMALIZE, (x) => opAsync("to.dtype", x, "float32")])) as ImageArray);
  }
  const [first] = parts;
  if (parts.length === 1 && first) return first;
  const data = new Float32Array(parts.reduce((sum, part) => sum + part.data.length, 0));
  let at = 0;
  for (const part of parts) {
    data.set(part.data, at);
    at += part.data.length;
  }
  const [, height = 0, width = 0, channels = 0] = first?.shape ?? [];
  return { data, shape: [parts.reduce((sum, { shape }) => sum + shape[0], 0), height, width, channels] };
}

async function toTensor(decoded: AsyncIterable<Tensor>): Promise<Tensor> {
  const parts: Tensor[] = [];
  try {
    for await (const pictures of decoded) parts.push(await apply(pictures, NORMALIZE));
    return await opAsync("cat", parts, 0);
  } finally {
    parts.forEach((part) => part.dispose());
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
  const pixels = await apply(pictures, [
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

/** Take a tensor through operators one after the other, freeing each before. */
async function apply(input: Tensor, steps: readonly Step[]): Promise<Tensor> {
  let x = input;
  for (const step of steps) {
    const before = x;
    try {
      x = await step(before);
    } finally {
      before.dispose();
    }
  }
  return x;
}
