import { stat } from "node:fs/promises";
import { dirname, extname } from "node:path";
import { inspect, types } from "node:util";
import type * as sharp from "sharp";
import { InvalidArgumentError, LatentDiffusionError } from "../errors.js";
import { raiseIo, replaceFile, writeWhole } from "../files/atomic-file.js";
import { checkInteger, checkOneOf, checkOptions, checkPlainObject, checkString, unexpected } from "../validate.js";
import { explainUnfitCpu } from "../native/host.js";

/** The file formats that images are written in, with the options of the installed sharp for each. */
export interface ImageFormatOptions {
  png: sharp.PngOptions;
  jpeg: sharp.JpegOptions;
  webp: sharp.WebpOptions;
  avif: sharp.AvifOptions;
  tiff: sharp.TiffOptions;
  gif: sharp.GifOptions;
}

export type ImageFormat = keyof ImageFormatOptions;

const FORMATS: readonly ImageFormat[] = ["png", "jpeg", "webp", "avif", "tiff", "gif"];

const EXTENSIONS: ReadonlyMap<string, ImageFormat> = new Map([
  [".png", "png"],
  [".jpg", "jpeg"],
  [".jpeg", "jpeg"],
  [".webp", "webp"],
  [".avif", "avif"],
  [".tif", "tiff"],
  [".tiff", "tiff"],
  [".gif", "gif"],
]);

/** Grey, RGB, RGBA. */
export type ImageChannels = 1 | 3 | 4;

/** The size of an image. */
export interface ImageSize {
  readonly width: number;
  readonly height: number;
  /** Default 3. */
  readonly channels?: ImageChannels;
}

/**
 * A picture in memory: rows from the top, each pixel's channels side by side, 8 bits each.
 * @see PIL.Image
 */
export class Image {
  readonly width: number;
  readonly height: number;
  /** 1: grey, 3: RGB, 4: RGBA. */
  readonly channels: ImageChannels;
  /** uint8 `[height, width, channels]`, row-major. */
  readonly data: Uint8Array;

  private constructor(data: Uint8Array, width: number, height: number, channels: ImageChannels) {
    this.data = data;
    this.width = width;
    this.height = height;
    this.channels = channels;
    // The size must go on describing the data; the pixels themselves may be painted on.
    Object.freeze(this);
  }

  /**
   * Make an image of pixels.
   * @param data uint8 `[height, width, channels]`, row-major; kept, not copied
   * @throws InvalidArgumentError if the data do not fit the size
   * @see PIL.Image.frombytes
   */
  static from(data: Uint8Array | Uint8ClampedArray, size: ImageSize): Image {
    if (!isBytes(data) && !types.isUint8ClampedArray(data)) throw unexpected("a Uint8Array", "data", data);
    if (size === undefined) throw unexpected("{ width, height }", "size", size);
    const { width, height, channels = 3 } = checkOptions(size, ["width", "height", "channels"], "Image.from");
    const across = checkInteger(width, "width", 1);
    const down = checkInteger(height, "height", 1);
    if (channels !== 1 && channels !== 3 && channels !== 4) throw unexpected("1, 3 or 4", "channels", channels);
    const expected = across * down * channels;
    if (data.length !== expected) {
      throw new InvalidArgumentError(
        `Expected ${expected} values (${down} x ${across} x ${channels}) for data but received ${data.length}`,
      );
    }
    const bytes = isBytes(data) ? data : new Uint8Array(data.buffer, data.byteOffset, data.length);
    return new Image(bytes, across, down, channels);
  }

  /**
   * Hand the pixels to sharp, for resizing, compositing and the like.
   * @throws LatentDiffusionError `ERR_ADDON_NOT_FOUND` if sharp is not installed for this platform
   * @see https://sharp.pixelplumbing.com
   */
  toSharp(): sharp.Sharp {
    const { width, height, channels } = this;
    const picture = loadSharp()(this.data, { raw: { width, height, channels } });
    // sharp would write grey as RGB.
    return channels === 1 ? picture.toColourspace("b-w") : picture;
  }

  /**
   * Encode as a file's bytes.
   * @param options sharp's for the format, such as `{ quality: 90 }`; they are passed on as they are, and sharp ignores names that it does
   *   not know
   * @throws InvalidArgumentError for an unknown format, or an option that sharp refuses; LatentDiffusionError `ERR_IO` where the format
   *   cannot hold such a picture, `ERR_ADDON_NOT_FOUND` without sharp
   * @example
   * const bytes = await image.toBuffer("webp", { quality: 90 });
   */
  async toBuffer<Format extends ImageFormat>(
    format: Format = "png" as Format,
    options?: ImageFormatOptions[Format],
  ): Promise<Buffer> {
    checkOneOf(format, "format", FORMATS);
    if (options !== undefined) checkPlainObject(options, "an options object", `Image.toBuffer("${format}")`);
    return configure(this.toSharp(), format, options)
      .toBuffer()
      .catch(raiseIo(`Cannot encode ${inspect(this)} as ${format}`));
  }

  /**
   * Write a file in the format that its extension names. The file appears under its name only when it is complete.
   * @param path ends in .png, .jpg, .jpeg, .webp, .avif, .tif, .tiff or .gif; its folder exists
   * @param options sharp's for the format
   * @throws InvalidArgumentError for another extension; LatentDiffusionError `ERR_IO`, and what {@link toBuffer} throws
   * @see PIL.Image.Image.save
   * @example
   * await images[0]?.save("face.png");
   * await images[0]?.save("face.jpg", { quality: 90 });
   */
  async save(path: string, options?: ImageFormatOptions[ImageFormat]): Promise<void> {
    const extension = extname(checkString(path, "path"));
    const format = EXTENSIONS.get(extension.toLowerCase());
    if (!format) throw unexpected(`one of ${[...EXTENSIONS.keys()].join(", ")}`, "the extension of path", extension);
    const encoded = await this.toBuffer(format, options);
    const folder = await stat(dirname(path)).catch(raiseIo(`Cannot write ${path}: its folder cannot be opened`));
    if (!folder.isDirectory())
      throw new LatentDiffusionError("ERR_IO", `Cannot write ${path}: ${dirname(path)} is not a folder`);
    await replaceFile(path, (temporary) => writeWhole(temporary, encoded));
  }

  [inspect.custom](): string {
    return `Image(${this.width} x ${this.height}, ${{ 1: "grey", 3: "RGB", 4: "RGBA" }[this.channels]})`;
  }
}

function configure(picture: sharp.Sharp, format: ImageFormat, options: object | undefined): sharp.Sharp {
  try {
    return picture.toFormat(format, options);
  } catch (error) {
    throw new InvalidArgumentError(
      `${error instanceof Error ? error.message : String(error)} (an option of sharp's for ${format})`,
    );
  }
}

type Sharp = (input: Uint8Array, options: sharp.SharpOptions) => sharp.Sharp;

let loaded: Sharp | undefined;

/** Load sharp on first use: it opens a library of 20 MB that a caller of tensors or arrays never needs. */
function loadSharp(): Sharp {
  const unfit = loaded === undefined ? explainUnfitCpu() : undefined;
  if (unfit !== undefined)
    throw new LatentDiffusionError(
      "ERR_ADDON_NOT_FOUND",
      `Pictures cannot be written: ${unfit}; image.data has the pixels without it`,
    );
  try {
    loaded ??= require("sharp") as Sharp;
    return loaded;
  } catch (cause) {
    throw new LatentDiffusionError(
      "ERR_ADDON_NOT_FOUND",
      "Writing pictures needs the package sharp, which could not be loaded (npm install sharp); image.data has the pixels without it",
      { cause },
    );
  }
}

/** Arrays of another realm are bytes too, which instanceof would not know. */
function isBytes(data: unknown): data is Uint8Array {
  return types.isUint8Array(data);
}
