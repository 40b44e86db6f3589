import { mkdir, readdir, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { checkFloatingDType, type FloatingDType } from "../torch/device.js";
import { throwIfAborted } from "../errors.js";
import type { Weight } from "../torch/script-values.js";
import { checkInteger, checkOptions, checkSignal } from "../validate.js";
import { type PendingFile, raiseIo, replaceFiles, writeWhole } from "../files/atomic-file.js";
import { stringifyConfig } from "../config/python-json.js";
import { storedBytes, writeNow } from "./safetensors.js";
import { type WeightFiles, weightFiles } from "./weight-files.js";

/** diffusers' default: 10 GB. */
const DEFAULT_SHARD_BYTES = 10_000_000_000;

/** How a component's weights are saved. */
export interface SaveWeightsOptions {
  /** Convert the weights to it; default: as they are. */
  dtype?: FloatingDType;
  /** The largest size of one file in bytes, default 10e9; a larger tensor has a file of its own. */
  maxShardSize?: number;
  /** Save beside the weights without a variant, under names with `.fp16` and the like. */
  variant?: string;
  /** Read before each file is written; what was written is then removed. */
  signal?: AbortSignal;
}

interface Shard {
  readonly name: string;
  readonly tensors: ReadonlyMap<string, Weight>;
}

/**
 * Save a component's weights as diffusers does: one file, or shards and an index where it would be too large.
 * All files are complete and on the disk before the first is put in place; then files of an earlier save, of the same
 * variant, that would shadow or outlive the new ones are removed. The weights may come from the files that are replaced.
 * @param folder is made if it does not exist
 * @param seal the file without which a reader does not look at weights: it stands when they do
 * @returns the names of the files written
 * @throws InvalidArgumentError for an option; LatentDiffusionError `ERR_IO`
 * @see diffusers.ModelMixin.save_pretrained
 */
export async function saveWeights(
  folder: string,
  tensors: ReadonlyMap<string, Weight>,
  options?: SaveWeightsOptions,
  seal?: PendingFile,
): Promise<string[]> {
  const { dtype, maxShardSize, variant, signal } = checkOptions(
    options,
    ["dtype", "maxShardSize", "variant", "signal"],
    "savePretrained",
  );
  const target = dtype === undefined ? undefined : checkFloatingDType(dtype, "dtype");
  const limit = maxShardSize === undefined ? DEFAULT_SHARD_BYTES : checkInteger(maxShardSize, "maxShardSize", 1);
  throwIfAborted(checkSignal(signal, "signal"));
  const files = weightFiles(variant);
  const groups = split(tensors, limit, target);
  const shards = groups.map((group, i): Shard => ({
    name: groups.length === 1 ? files.single : files.shard(i + 1, groups.length),
    tensors: group,
  }));
  await mkdir(folder, { recursive: true }).catch(raiseIo(`Cannot make the folder ${folder}`));
  const pending = shards.map(({ name, tensors: own }): PendingFile => ({
    path: join(folder, name),
    write: (temporary) => {
      throwIfAborted(signal);
      return writeNow(temporary, own, { dtype: target });
    },
  }));
  // The index goes last: until it stands, an earlier single file or index is what a reader takes.
  if (shards.length > 1)
    pending.push({
      path: join(folder, files.index),
      write: (temporary) => writeWhole(temporary, formatIndex(shards, target)),
    });
  const written = pending.map(({ path }) => basename(path));
  await replaceFiles(pending, { seal, clean: () => removeStale(folder, files, written) });
  return written;
}

/** Fill shard after shard in the order of the tensors, as huggingface_hub does: an oversized tensor alone, in a shard before the one being filled. */
function split(
  tensors: ReadonlyMap<string, Weight>,
  limit: number,
  dtype: FloatingDType | undefined,
): Map<string, Weight>[] {
  const shards: Map<string, Weight>[] = [];
  let current = new Map<string, Weight>();
  let size = 0;
  for (const [name, weight] of tensors) {
    const bytes = storedBytes(weight, dtype);
    if (bytes > limit) {
      shards.push(new Map([[name, weight]]));
      continue;
    }
    if (size + bytes > limit) {
      shards.push(current);
      current = new Map();
      size = 0;
    }
    current.set(name, weight);
    size += bytes;
  }
  if (current.size > 0 || shards.length === 0) shards.push(current);
  return shards;
}

function formatIndex(shards: readonly Shard[], dtype: FloatingDType | undefined): string {
  const entries = shards.flatMap(({ name, tensors }) => [...tensors.keys()].map((tensor) => [tensor, name] as const));
  const sizes = shards.flatMap(({ tensors }) => [...tensors.values()].map((weight) => storedBytes(weight, dtype)));
  return stringifyConfig({
    metadata: { total_size: sizes.reduce((sum, bytes) => sum + bytes, 0) },
    weight_map: Object.fromEntries(entries),
  });
}

async function removeStale(folder: string, files: WeightFiles, written: readonly string[]): Promise<void> {
  const stale = (await readdir(folder).catch(raiseIo(`Cannot read the folder ${folder}`))).filter(
    (name) =>
      !written.includes(name) &&
      (name === files.single || name === files.index || name === files.legacyIndex || files.isShard(name)),
  );
  // Indexes first: an index without its shards is an unreadable checkpoint, shards without an index are only litter.
  stale.sort((a, b) => Number(b.endsWith(".json")) - Number(a.endsWith(".json")));
  for (const name of stale)
    await rm(join(folder, name), { force: true }).catch(
      raiseIo(`Cannot remove ${join(folder, name)}, which an earlier save left`),
    );
}
