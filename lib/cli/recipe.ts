import { readFile } from "node:fs/promises";
import { type Device, type FloatingDType, runtimeInfo } from "../index.js";
import { raiseIo } from "../files/atomic-file.js";
import { checkInteger, checkNumber, checkOneOf, checkPlainObject, checkString } from "../validate.js";
import { CommandError } from "./failure.js";
import { addPngTexts, readPngText } from "./png-text.js";

/** The keyword under which a picture carries its recipe, as JSON. */
const KEYWORD = "latent-diffusion";

export const DTYPES: readonly FloatingDType[] = ["float32", "float64", "float16", "bfloat16"];

/** All that a picture follows from: with the same recipe on the same machine, every pixel is the same. */
export interface Recipe {
  readonly model: string;
  /** Of the first picture; each next one has the next seed. */
  readonly seed: number;
  /** Pictures of the run. */
  readonly count: number;
  /** Pictures computed at once: it changes last digits. */
  readonly batch: number;
  /** Which picture of the run a file is, from 0; undefined for a grid of all. */
  readonly picture?: number;
  readonly steps: number;
  readonly eta: number;
  /** A short name or a class; undefined: the checkpoint's own. */
  readonly scheduler?: string;
  /** Width and height in pixels; undefined: what the model was made for. */
  readonly size?: readonly [width: number, height: number];
  readonly dtype: FloatingDType;
  readonly device: Device;
}

/** What else bits depend on; a picture says where it was made. */
export interface Maker {
  readonly version: string;
  readonly libtorch: string;
  readonly cpu: string;
  readonly threads: number;
}

/** Say what runs here. Opens LibTorch. */
export function thisMaker(version: string): Maker {
  const { libtorch, cpuCapability, threads } = runtimeInfo();
  return { version, libtorch: libtorch.version, cpu: cpuCapability, threads };
}

/**
 * Write a recipe into a picture.
 * @param png a whole file
 */
export function addRecipe(png: Uint8Array, recipe: Recipe, maker: Maker): Buffer {
  return addPngTexts(png, [
    { keyword: KEYWORD, text: JSON.stringify({ ...recipe, maker }) },
    { keyword: "Software", text: `latent-diffusion ${maker.version}` },
  ]);
}

/**
 * Read the recipe of a picture, which may come from anyone: every value is checked.
 * @throws CommandError `ERR_NO_RECIPE` if it carries none, or one that cannot be followed; LatentDiffusionError `ERR_IO`
 */
export async function readRecipe(path: string): Promise<{ recipe: Recipe; maker: Partial<Maker> }> {
  const text = readPngText(await readFile(path).catch(raiseIo(`Cannot read ${path}`)), KEYWORD);
  if (text === undefined) {
    throw new CommandError(
      "ERR_NO_RECIPE",
      `${path} does not say how it was made`,
      "Only PNG files that `latent-diffusion generate` wrote can be made again; editors and chats often remove the text.",
    );
  }
  try {
    const given = checkPlainObject(JSON.parse(text), "an object", "the recipe");
    return { recipe: checkRecipe(given), maker: checkPlainObject(given.maker ?? {}, "an object", "maker") };
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CommandError(
      "ERR_NO_RECIPE",
      `The recipe of ${path} cannot be followed: ${why}`,
      "The file was changed, or written by another version.",
      { cause },
    );
  }
}

function checkRecipe(given: Record<string, unknown>): Recipe {
  const count = checkInteger(given.count, "count", 1);
  const { size, scheduler, picture } = given;
  return {
    model: checkString(given.model, "model"),
    seed: checkInteger(given.seed, "seed", 0),
    count,
    batch: checkInteger(given.batch, "batch", 1),
    ...(picture === undefined ? {} : { picture: checkInteger(picture, "picture", 0, count - 1) }),
    steps: checkInteger(given.steps, "steps", 1),
    eta: checkNumber(given.eta, "eta", 0, 1),
    ...(scheduler === undefined ? {} : { scheduler: checkString(scheduler, "scheduler") }),
    ...(Array.isArray(size)
      ? { size: [checkInteger(size[0], "width", 1), checkInteger(size[1], "height", 1)] as const }
      : {}),
    dtype: checkOneOf(given.dtype, "dtype", DTYPES),
    // The library checks it against the devices that are there.
    device: checkString(given.device, "device") as Device,
  };
}
