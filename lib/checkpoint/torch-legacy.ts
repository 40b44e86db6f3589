import { LatentDiffusionError } from "../errors.js";
import { readPickle } from "../files/pickle.js";
import { PickleCutShortError } from "../files/pickle-input.js";
import { describePickle, PickleStorage, type PickleValue } from "../files/pickle-values.js";
import type { ByteSource } from "../files/safetensors-header.js";
import { itemBytes, torchMeaning } from "../files/torch-pickle.js";
import { readExactly, viewOf } from "../files/zip-directory.js";
import { quote } from "../validate.js";
import { MAX_PICKLE_BYTES, type TorchContent } from "./torch-zip.js";

/** The first pickle of such a file, an integer of ten bytes. */
const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;
/** Most pickles are shorter; where one is not, more is read. */
const FIRST_READ_BYTES = 1_000_000;
/** In front of each storage, its number of elements. */
const COUNT_BYTES = 8;

/**
 * Read what a file of `torch.save` describes that was written before PyTorch 1.6, or with `_use_new_zipfile_serialization=False`: five
 * pickles (magic number, version, system, value, keys of storages), and the storages.
 * @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID` naming the file and what is wrong
 */
export async function readLegacyFile(source: ByteSource, path: string): Promise<TorchContent> {
  for (let length = FIRST_READ_BYTES; ; length *= 4) {
    const available = Math.min(length, source.size);
    try {
      return await readFrom(source, await readExactly(source, 0, available, path), path);
    } catch (error) {
      if (!(error instanceof PickleCutShortError) || available === source.size || length > MAX_PICKLE_BYTES)
        throw error;
    }
  }
}

async function readFrom(source: ByteSource, bytes: Uint8Array, path: string): Promise<TorchContent> {
  const fail = (what: string): never => {
    throw new LatentDiffusionError("ERR_CHECKPOINT_INVALID", `${path}: ${what}`);
  };
  const storages = new Map<string, PickleStorage>();
  const known = torchMeaning((what, position) => fail(`${what} at byte ${position}`));
  const meaning = {
    ...known,
    persistent: (args: readonly PickleValue[], position: number): PickleValue => {
      const value = known.persistent(args, position);
      if (value instanceof PickleStorage) noteStorage(storages, value, fail);
      return value;
    },
  };
  let end = 0;
  const next = async (): Promise<PickleValue> => {
    const read = await readPickle(bytes, path, meaning, end);
    end = read.end;
    return read.value;
  };
  if ((await next()) !== MAGIC) fail("a pickle, but not one of torch.save");
  const version = await next();
  if (version !== PROTOCOL) fail(`a version of torch.save's files other than ${PROTOCOL}`);
  const system = await next();
  if (!(system instanceof Map) || system.get("little_endian") !== true) fail("its numbers are not little-endian");
  const value = await next();
  const offsets = await placeStorages(source, await next(), end, storages, path);
  const locate = ({ key }: PickleStorage): number =>
    offsets.get(key) ?? fail(`the list of storages does not name ${quote(key)}`);
  return { value, locate };
}

/** Keep what a key says the first time; the same key must say the same again. */
function noteStorage(
  storages: Map<string, PickleStorage>,
  storage: PickleStorage,
  fail: (what: string) => never,
): void {
  const { key, type, total } = storage;
  const before = storages.get(key);
  if (before && (before.type !== type || before.total !== total))
    fail(`the storage ${quote(key)} is ${before.total} elements of ${before.type}, and ${total} of ${type}`);
  storages.set(key, storage);
}

/** See where each storage is: they follow the pickles in the order of their keys, to the end of the file exactly. */
async function placeStorages(
  source: ByteSource,
  keys: PickleValue,
  start: number,
  storages: ReadonlyMap<string, PickleStorage>,
  path: string,
): Promise<ReadonlyMap<string, number>> {
  const fail = (what: string): never => {
    throw new LatentDiffusionError("ERR_CHECKPOINT_INVALID", `${path}: ${what}`);
  };
  if (!Array.isArray(keys)) return fail("the list of storages is missing");
  const offsets = new Map<string, number>();
  let at = start;
  for (const key of keys) {
    const storage = typeof key === "string" ? storages.get(key) : undefined;
    if (typeof key !== "string" || !storage || offsets.has(key))
      return fail(`the list of storages names ${describeKey(key)}, which is unknown or there twice`);
    const stored = viewOf(await readExactly(source, at, Math.min(COUNT_BYTES, source.size - at), path));
    const count = stored.byteLength === COUNT_BYTES ? stored.getBigUint64(0, true) : -1n;
    if (count !== BigInt(storage.total))
      return fail(`the storage ${quote(key)} at ${at} has ${count} elements, but the pickle says ${storage.total}`);
    if (storage.dtype === undefined && storage.type !== "torch.storage.UntypedStorage")
      return fail(`the storage ${quote(key)} is a ${storage.type}, which no network here has`);
    offsets.set(key, at + COUNT_BYTES);
    at += COUNT_BYTES + storage.total * itemBytes(storage.dtype ?? "uint8");
    if (at > source.size) return fail(`the file is cut short: it ends within the storage ${quote(key)}`);
  }
  if (at !== source.size) return fail(`${source.size - at} bytes at the end belong to no storage`);
  return offsets;
}

function describeKey(key: PickleValue): string {
  return typeof key === "string" ? quote(key) : describePickle(key);
}
