import { Image } from "./image.js";
import { InvalidArgumentError, LatentDiffusionError } from "../errors.js";
import { checkInteger, checkOptions, isArray, unexpected } from "../validate.js";

/** What a typed array holds in Node 20; later ones hold more. */
const MOST_BYTES = 2 ** 32;

/** How images are laid out in a grid. */
export interface GridOptions {
  /** Default: as square as it gets, the square root of the number of images, rounded up. */
  columns?: number;
  /** Pixels between the images; default 0. */
  gap?: number;
  /** The colour of gaps and empty cells, a value in [0, 255] for each channel; default black, opaque. */
  background?: readonly number[];
}

/**
 * Paste images of one size side by side, row by row, into one.
 * @param images at least one, all of one size and number of channels
 * @throws InvalidArgumentError naming the image that does not fit, or the option
 * @see diffusers.utils.make_image_grid
 */
export function makeGrid(images: readonly Image[], options?: GridOptions): Image {
  const { columns, gap = 0, background } = checkOptions(options, ["columns", "gap", "background"], "makeGrid");
  const { width, height, channels } = checkImages(images);
  const across = columns === undefined ? Math.ceil(Math.sqrt(images.length)) : checkInteger(columns, "columns", 1);
  const down = Math.ceil(images.length / across);
  const between = checkInteger(gap, "gap", 0);
  const colour = checkColour(background ?? [0, 0, 0, 255].slice(0, channels), channels);
  const size = { width: across * (width + between) - between, height: down * (height + between) - between, channels };
  const bytes = size.width * size.height * channels;
  if (bytes > MOST_BYTES)
    throw new InvalidArgumentError(
      `Expected a grid of at most ${MOST_BYTES} bytes but received columns and gap for ${size.width} x ${size.height} pixels`,
    );
  const data = allocate(bytes);
  for (let i = 0; i < data.length; i += channels) data.set(colour, i);
  const rowBytes = width * channels;
  images.forEach((image, i) => {
    const left = (i % across) * (width + between);
    const top = Math.floor(i / across) * (height + between);
    for (let row = 0; row < height; row++) {
      data.set(image.data.subarray(row * rowBytes, (row + 1) * rowBytes), ((top + row) * size.width + left) * channels);
    }
  });
  return Image.from(data, size);
}

function allocate(bytes: number): Uint8Array {
  try {
    return new Uint8Array(bytes);
  } catch (cause) {
    throw new LatentDiffusionError("ERR_OUT_OF_MEMORY", `No memory for a grid of ${bytes} bytes`, { cause });
  }
}

function checkImages(images: readonly Image[]): Image {
  const [first] = isArray(images) ? images : [];
  if (!(first instanceof Image))
    throw unexpected("an array of one Image or more", "images", isArray(images) && images.length > 0 ? first : images);
  for (const [i, image] of images.entries()) {
    if (!(image instanceof Image)) throw unexpected("an Image", `images[${i}]`, image);
    if (image.width !== first.width || image.height !== first.height || image.channels !== first.channels) {
      throw unexpected(
        `an image of ${first.width} x ${first.height} with ${first.channels} channels, as images[0],`,
        `images[${i}]`,
        image,
      );
    }
  }
  return first;
}

function checkColour(colour: unknown, channels: number): readonly number[] {
  if (!isArray(colour) || colour.length !== channels)
    throw unexpected(`an array of ${channels} values from 0 to 255`, "background", colour);
  return colour.map((value, i) => checkInteger(value, `background[${i}]`, 0, 255));
}
