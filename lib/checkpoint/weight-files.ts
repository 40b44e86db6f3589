import { readdir } from "node:fs/promises";
import { LatentDiffusionError } from "../errors.js";
import { unexpected } from "../validate.js";
import { raiseIo } from "../files/atomic-file.js";

const STEM = "diffusion_pytorch_model";

/** How weights are stored: safetensors, which can hold nothing else, or as `torch.save` writes them. */
export type WeightFormat = "safetensors" | "bin";

/** In the order in which they are looked for. */
export const WEIGHT_FORMATS: readonly WeightFormat[] = ["safetensors", "bin"];

/** Where a component's weights are, under diffusers' names. */
export interface WeightFiles {
  readonly single: string;
  readonly index: string;
  /** The index of a variant as older versions of diffusers named it; null without a variant. */
  readonly legacyIndex: string | null;
  /** @param number from 1 @param count of all shards */
  shard(number: number, count: number): string;
  /** Whether a file is a shard of these weights, of any count, under today's naming or the older one. */
  isShard(name: string): boolean;
}

/**
 * Name the files of one set of weights. Variants are `diffusion_pytorch_model.fp16.safetensors` and the like.
 * @throws InvalidArgumentError for a variant that could not be part of a plain file name
 */
export function weightFiles(variant?: string, format: WeightFormat = "safetensors"): WeightFiles {
  const infix = variant === undefined ? "" : `.${checkVariant(variant)}`;
  const escaped = infix.replaceAll(".", "\\.");
  const shards = new RegExp(`^${STEM}(${escaped}-\\d{5}-of-\\d{5}|-\\d{5}-of-\\d{5}${escaped})\\.${format}$`);
  const padded = (value: number): string => String(value).padStart(5, "0");
  return {
    single: `${STEM}${infix}.${format}`,
    index: `${STEM}.${format}.index${infix}.json`,
    legacyIndex: variant === undefined ? null : `${STEM}.${format}${infix}.index.json`,
    shard: (number, count) => `${STEM}${infix}-${padded(number)}-of-${padded(count)}.${format}`,
    isShard: (name) => shards.test(name),
  };
}

/** Check a variant: part of a plain file name. */
export function checkVariant(variant: unknown): string {
  if (typeof variant !== "string" || !/^[\w-]+(\.[\w-]+)*$/.test(variant)) {
    throw unexpected('a variant\'s name, as "fp16" (letters, digits, "_", "-" and single dots),', "variant", variant);
  }
  return variant;
}

/**
 * List a checkpoint folder.
 * @throws LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND` where it is missing or no folder, `ERR_IO` where it cannot be read
 */
export async function listFolder(folder: string): Promise<ReadonlySet<string>> {
  try {
    return new Set(await readdir(folder));
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code !== "ENOENT" && code !== "ENOTDIR") return raiseIo(`Cannot read the folder ${folder}`)(cause);
    const what = code === "ENOENT" ? "does not exist" : "is not a folder";
    throw new LatentDiffusionError("ERR_CHECKPOINT_NOT_FOUND", `The checkpoint folder ${folder} ${what}`, { cause });
  }
}

/** Find the variants that a folder holds weights of, under either naming; "" stands for the weights without a variant. */
export function findVariants(names: Iterable<string>): string[] {
  const patterns = [
    new RegExp(`^${STEM}(?:\\.(?<variant>[\\w.-]+?))?(?:-\\d{5}-of-\\d{5})?\\.(?:safetensors|bin)$`),
    new RegExp(`^${STEM}-\\d{5}-of-\\d{5}\\.(?<variant>[\\w.-]+)\\.(?:safetensors|bin)$`),
  ];
  const found = new Set<string>();
  for (const name of names) {
    const match = patterns.map((pattern) => pattern.exec(name)).find((candidate) => candidate !== null);
    if (match) found.add(match.groups?.variant ?? "");
  }
  return [...found].sort();
}

/** Say why a folder has no weights to load, and what to do about it. */
export function weightsNotFound(
  folder: string,
  names: ReadonlySet<string>,
  variant: string | undefined,
): LatentDiffusionError {
  const files = weightFiles(variant);
  const wanted = `Expected ${files.single} or ${files.index} (or .bin) in ${folder}`;
  const variants = findVariants(names);
  const named = variants.filter((name) => name !== "").map((name) => JSON.stringify(name));
  const advice: string[] = [];
  if (variant !== undefined && variants.includes(""))
    advice.push("it holds weights without a variant: leave the option out");
  if (named.length > 0)
    advice.push(
      `it holds the variant${named.length > 1 ? "s" : ""} ${named.join(", ")}: pass { variant: ${named[0] ?? ""} }`,
    );
  if (advice.length === 0)
    advice.push(names.size === 0 ? "the folder is empty" : `it holds ${shortList([...names].sort())}`);
  return new LatentDiffusionError("ERR_CHECKPOINT_NOT_FOUND", `${wanted}, but ${advice.join("; ")}`);
}

/** The file to begin with, of one set of weights. */
export interface ChosenWeights {
  readonly name: string;
  readonly format: WeightFormat;
  /** Whether it is the list of the shards, else it holds all weights. */
  readonly isIndex: boolean;
}

/**
 * Choose among the files of a component's folder: an index before a single file, safetensors before `.bin`.
 * @returns undefined where there are no weights of this variant
 * @throws InvalidArgumentError for a variant that could not be part of a plain file name
 */
export function chooseWeights(names: ReadonlySet<string>, variant: string | undefined): ChosenWeights | undefined {
  for (const format of WEIGHT_FORMATS) {
    const { index, legacyIndex, single } = weightFiles(variant, format);
    const found = [index, legacyIndex, single].find((name) => name !== null && names.has(name));
    if (found) return { name: found, format, isIndex: found !== single };
  }
  return undefined;
}

/** Join names for a message, the first ones of many. */
export function shortList(names: readonly string[], limit = 12): string {
  const shown = names.slice(0, limit).join(", ");
  return names.length > limit ? `${shown} and ${names.length - limit} more` : shown;
}
