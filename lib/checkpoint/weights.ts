import { join } from "node:path";
import { isFloating } from "../torch/device.js";
import { LatentDiffusionError } from "../errors.js";
import type { StoredTensor, Weight } from "../torch/script-values.js";
import { readJsonObject } from "../config/config-file.js";
import { isJsonObject } from "../files/json.js";
import { SafetensorsFile } from "./safetensors.js";
import { openTorchWeights } from "./torch-file.js";
import {
  checkVariant,
  chooseWeights,
  listFolder,
  shortList,
  type WeightFormat,
  weightsNotFound,
} from "./weight-files.js";

export { type SaveWeightsOptions, saveWeights } from "./save-weights.js";

/** The weights of one component: open files, their tensors not read yet. */
export interface OpenWeights {
  /** By name; of all shards together. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Paths of the files that hold them. */
  readonly files: readonly string[];
  /** Close the files, after what is queued. */
  dispose(): void;
}

/** One open file of weights. */
interface WeightFile {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  dispose(): void;
}

/** How a file of each format is opened; both read only tensors, and run nothing. */
const OPENERS: Readonly<Record<WeightFormat, (path: string) => Promise<WeightFile>>> = {
  safetensors: (path) => SafetensorsFile.open(path),
  bin: openTorchWeights,
};

/**
 * Open the weights in a component's folder: the shards that an index lists, else the single file; safetensors, else `.bin`.
 * @param options `variant`: `"fp16"` and the like; without it only weights without a variant are taken
 * @throws LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND` saying what the folder holds instead; `ERR_CHECKPOINT_INVALID`
 * @see diffusers.ModelMixin.from_pretrained
 */
export async function openWeights(folder: string, options: { variant?: string } = {}): Promise<OpenWeights> {
  const { variant } = options;
  // Before the folder is looked at: an option that cannot be is the caller's mistake.
  if (variant !== undefined) checkVariant(variant);
  const names = await listFolder(folder);
  const chosen = chooseWeights(names, variant);
  if (chosen === undefined) throw weightsNotFound(folder, names, variant);
  const { name, format, isIndex } = chosen;
  if (isIndex) return openShards(folder, name, names, format);
  const { path, tensors, dispose } = await openFile(format, join(folder, name));
  return { tensors, files: [path], dispose };
}

async function openFile(format: WeightFormat, path: string): Promise<WeightFile> {
  const file = await OPENERS[format](path);
  return { path: file.path, tensors: file.tensors, dispose: () => file.dispose() };
}

/**
 * Tell whether a component's folder holds weights of a variant; a pipeline falls back, component by component, where not.
 * @throws LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND` if there is no such folder
 */
export async function hasVariant(folder: string, variant: string): Promise<boolean> {
  return chooseWeights(await listFolder(folder), checkVariant(variant)) !== undefined;
}

async function openShards(
  folder: string,
  indexName: string,
  names: ReadonlySet<string>,
  format: WeightFormat,
): Promise<OpenWeights> {
  const path = join(folder, indexName);
  const weightMap = await readWeightMap(path, format);
  const shards = [...new Set(weightMap.values())].sort();
  const missing = shards.filter((shard) => !names.has(shard));
  if (missing.length > 0) {
    throw new LatentDiffusionError(
      "ERR_CHECKPOINT_NOT_FOUND",
      `${path} lists files that are not in the folder: ${shortList(missing)}`,
    );
  }
  const open: WeightFile[] = [];
  const dispose = (): void => open.forEach((file) => file.dispose());
  try {
    for (const shard of shards) open.push(await openFile(format, join(folder, shard)));
    return {
      tensors: collectTensors(path, weightMap, new Map(shards.map((shard, i) => [shard, open[i] as WeightFile]))),
      files: open.map((file) => file.path),
      dispose,
    };
  } catch (error) {
    dispose();
    throw error;
  }
}

/**
 * Read which shard holds each tensor.
 * @param path of the index
 * @returns plain file names, by the names of the tensors
 * @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID`, also for a shard whose name is a path
 */
export async function readWeightMap(path: string, format: WeightFormat): Promise<ReadonlyMap<string, string>> {
  const { weight_map: weightMap } = await readJsonObject(path);
  if (!isJsonObject(weightMap)) throw invalid(path, "it has no weight_map object");
  const entries = Object.entries(weightMap).map(([name, shard]): [string, string] => [
    name,
    checkShardName(path, name, shard, format),
  ]);
  if (entries.length === 0) throw invalid(path, "its weight_map is empty");
  return new Map(entries);
}

/** A shard stands in the index's own folder: a name with a path in it could read any file of the machine. */
function checkShardName(path: string, tensor: string, shard: unknown, format: WeightFormat): string {
  if (typeof shard !== "string" || !/^[^/\\:\0]+$/.test(shard) || !shard.slice(1).endsWith(`.${format}`)) {
    throw invalid(
      path,
      `Expected a plain *.${format} file name for ${JSON.stringify(tensor)} but received ${JSON.stringify(shard)}`,
    );
  }
  return shard;
}

/** Merge the shards' tensors, each from the shard that the index names, with nothing missing or left over. */
function collectTensors(
  path: string,
  weightMap: ReadonlyMap<string, string>,
  files: ReadonlyMap<string, WeightFile>,
): ReadonlyMap<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  const problems: string[] = [];
  for (const [name, shard] of weightMap) {
    const tensor = files.get(shard)?.tensors.get(name);
    if (tensor) tensors.set(name, tensor);
    else problems.push(`${name} is not in ${shard}`);
  }
  for (const [shard, file] of files) {
    for (const name of file.tensors.keys()) {
      const listed = weightMap.get(name);
      if (listed === undefined) problems.push(`${name} of ${shard} is not in the index`);
      else if (listed !== shard) problems.push(`${name} is in ${shard}, where the index says ${listed}`);
    }
  }
  if (problems.length > 0) throw invalid(path, `the index and its shards disagree: ${shortList(problems)}`);
  return tensors;
}

/**
 * Refuse a file of far more tensors than the network has parameters, before each of them is looked at.
 * @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID` with both numbers
 */
export function checkTensorCount(expected: number, found: number, where: string): void {
  // A file of a few too many or too few deserves the list of their names.
  if (found > 2 * expected + 1000)
    throw invalid(where, `the weights have ${found} tensors, where the configuration describes ${expected}`);
}

/**
 * Give every parameter of a network its tensor. All that is wrong is told at once, in three lists.
 * @param expected the network's parameters: name and shape
 * @param where the folder, for the message
 * @returns the weights by name, in the order of `expected`
 * @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID` listing the missing, unexpected and misshapen tensors
 */
export function matchWeights(
  expected: readonly (readonly [name: string, shape: readonly number[]])[],
  found: ReadonlyMap<string, StoredTensor>,
  where: string,
): Map<string, Weight> {
  const matched = new Map<string, Weight>();
  const missing: string[] = [];
  const misshapen: string[] = [];
  for (const [name, shape] of expected) {
    const tensor = found.get(name);
    if (!tensor) missing.push(name);
    else if (!isFloating(tensor.dtype))
      misshapen.push(`${name} (expected a floating dtype but received ${tensor.dtype})`);
    else if (!sameShape(tensor.shape, shape))
      misshapen.push(`${name} (expected [${shape.join(", ")}] but received [${tensor.shape.join(", ")}])`);
    else matched.set(name, tensor);
  }
  const known = new Set(expected.map(([name]) => name));
  const unexpected = [...found.keys()].filter((name) => !known.has(name));
  const lists = (
    [
      ["missing", missing],
      ["unexpected", unexpected],
      ["misshapen", misshapen],
    ] as const
  )
    .filter(([, names]) => names.length > 0)
    .map(([title, names]) => `\n  ${title} (${names.length}): ${shortList(names)}`);
  if (lists.length > 0) throw invalid(where, `the tensors do not fit the configuration${lists.join("")}`);
  return matched;
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, i) => size === b[i]);
}

const LEGACY_ATTENTION: readonly (readonly [old: string, today: string])[] = [
  ["query", "to_q"],
  ["key", "to_k"],
  ["value", "to_v"],
  ["proj_attn", "to_out.0"],
];

/**
 * Give the attention weights of old checkpoints (those of diffusers' former `AttentionBlock`) their names of today. Where
 * both names stand, the old one is left, so that {@link matchWeights} tells of it.
 * @see diffusers.ModelMixin._convert_deprecated_attention_blocks
 */
export function renameLegacyAttention(tensors: ReadonlyMap<string, StoredTensor>): ReadonlyMap<string, StoredTensor> {
  return new Map(
    [...tensors].map(([name, tensor]) => {
      const match = /^(.*\.attentions\.\d+)\.(query|key|value|proj_attn)\.(weight|bias)$/.exec(name);
      const today = LEGACY_ATTENTION.find(([old]) => old === match?.[2])?.[1];
      const renamed = match && today ? `${match[1]}.${today}.${match[3]}` : name;
      return [tensors.has(renamed) ? name : renamed, tensor];
    }),
  );
}

function invalid(path: string, what: string): LatentDiffusionError {
  return new LatentDiffusionError("ERR_CHECKPOINT_INVALID", `${path}: ${what}`);
}
