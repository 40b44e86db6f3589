import type { Image } from "../../image/image.js";
import type { Tensor } from "../../torch/tensor.js";

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

  *[Symbol.iterator](): Generator<ImagesOf<Type>, void, undefined> {
    yield this.images;
  }
}
