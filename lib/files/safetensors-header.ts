import { LatentDiffusionError } from "../errors.js";
import type { DType } from "../native/contract.js";
import { quote } from "../validate.js";
import { decodeUtf8, inSteps, isJsonObject, type JsonObject, type JsonValue, parseJsonMembers } from "./json.js";
import { HEAD_BYTES, refuseMisplaced } from "./misplaced.js";

/** Bytes in front of the header: its length, a little-endian unsigned 64-bit integer. */
export const PREFIX_BYTES = 8;

/**
 * The dtypes by their names in the format, with their sizes in bytes, in the order in which the format's own library writes
 * tensors. The 8-bit floats, unsigned and complex ones that it knows besides have no place in a network that this package runs.
 */
export const STORED_DTYPES: readonly { readonly stored: string; readonly dtype: DType; readonly bytes: number }[] = [
  { stored: "I64", dtype: "int64", bytes: 8 },
  { stored: "F64", dtype: "float64", bytes: 8 },
  { stored: "F32", dtype: "float32", bytes: 4 },
  { stored: "I32", dtype: "int32", bytes: 4 },
  { stored: "BF16", dtype: "bfloat16", bytes: 2 },
  { stored: "F16", dtype: "float16", bytes: 2 },
  { stored: "I16", dtype: "int16", bytes: 2 },
  { stored: "I8", dtype: "int8", bytes: 1 },
  { stored: "U8", dtype: "uint8", bytes: 1 },
  { stored: "BOOL", dtype: "bool", bytes: 1 },
];

/** Sorting so many takes some milliseconds. */
const SORTED_AT_ONCE = 16_384;

/** The format's own bound. */
const MAX_HEADER_BYTES = 100_000_000;

/** Where the header's bytes come from: an open file, or a test's array. */
export interface ByteSource {
  /** In bytes. */
  readonly size: number;
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** One tensor as the header tells of it; `offset` counts from the start of the file. */
export interface HeaderEntry {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly offset: number;
}

export interface Header {
  /** In the order of their bytes in the file. */
  readonly tensors: ReadonlyMap<string, HeaderEntry>;
  readonly metadata: Readonly<Record<string, string>>;
}

interface Extent {
  readonly name: string;
  readonly begin: number;
  readonly end: number;
  readonly entry: HeaderEntry;
}

/**
 * Read and check the header of a safetensors file: what it says must describe the file exactly, every byte of it.
 * @param path the file's name, for messages
 * @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID` naming the file, the tensor and what is wrong
 */
export async function readHeader(source: ByteSource, path: string): Promise<Header> {
  const length = await readHeaderLength(source, path);
  const bytes = await source.read(PREFIX_BYTES, length);
  if (bytes.length !== length) throw invalid(path, `the header is cut short: ${bytes.length} of ${length} bytes`);
  if (bytes[0] !== 0x7b) throw invalid(path, 'the header does not start with "{": not a safetensors file');
  const json = await parseJsonMembers(decodeUtf8(bytes, `${path}: header`), `${path}: header`);
  const metadata = json.get("__metadata__");
  json.delete("__metadata__");
  const start = PREFIX_BYTES + length;
  const extents: Extent[] = [];
  await inSteps(json, ([name, value]) => extents.push(parseEntry(path, name, value, start)));
  const tensors = new Map<string, HeaderEntry>();
  await inSteps(checkExtents(path, await sortExtents(extents), source.size - start), ({ name, entry }) =>
    tensors.set(name, entry),
  );
  return { metadata: parseMetadata(path, metadata ?? null), tensors };
}

async function readHeaderLength(source: ByteSource, path: string): Promise<number> {
  const headBytes = Math.min(source.size, HEAD_BYTES);
  const head = await source.read(0, headBytes);
  if (head.length !== headBytes) throw invalid(path, "the file is cut short");
  refuseMisplaced(head, path);
  if (source.size < PREFIX_BYTES) throw invalid(path, `${source.size} bytes are too few for a safetensors file`);
  const length = new DataView(head.buffer, head.byteOffset, PREFIX_BYTES).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw invalid(path, `a header of ${length} bytes, above the bound of ${MAX_HEADER_BYTES}: not a safetensors file`);
  }
  const available = source.size - PREFIX_BYTES;
  if (Number(length) > available) {
    throw invalid(path, `the file is cut short: a header of ${length} bytes, but only ${available} follow its length`);
  }
  return Number(length);
}

/** Without metadata, or where it is null, as Python's reader takes it, there is none. */
function parseMetadata(path: string, value: JsonValue): Record<string, string> {
  if (value === null) return {};
  if (!isJsonObject(value)) throw invalid(path, "__metadata__ is not an object");
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string")
      throw invalid(path, `__metadata__ holds ${JSON.stringify(key)}, which is not a string`);
  }
  return value as Record<string, string>;
}

function parseEntry(path: string, name: string, value: JsonValue, start: number): Extent {
  const fail = (what: string): LatentDiffusionError => invalid(path, `tensor ${quote(name)}: ${what}`);
  if (!isJsonObject(value)) throw fail("its entry is not an object");
  checkKeys(value, fail);
  const known = STORED_DTYPES.find(({ stored }) => stored === value.dtype);
  if (!known) {
    throw fail(
      `Expected one of ${STORED_DTYPES.map(({ stored }) => stored).join(", ")} for dtype but received ${JSON.stringify(value.dtype)}`,
    );
  }
  const shape = parseSizes(value.shape, "shape", fail);
  const offsets = parseSizes(value.data_offsets, "data_offsets", fail);
  const [begin, end] = offsets;
  if (begin === undefined || end === undefined || offsets.length !== 2 || end < begin) {
    throw fail(`Expected [begin, end] for data_offsets but received [${offsets.join(", ")}]`);
  }
  const bytes = byteLength(shape, known.bytes);
  if (bytes === undefined) throw fail(`the shape [${shape.join(", ")}] is beyond what a file can hold`);
  if (end - begin !== bytes) {
    throw fail(
      `shape [${shape.join(", ")}] of ${known.stored} takes ${bytes} bytes, but data_offsets [${begin}, ${end}] give ${end - begin}`,
    );
  }
  return { name, begin, end, entry: { dtype: known.dtype, shape: Object.freeze(shape), offset: start + begin } };
}

function checkKeys(entry: JsonObject, fail: (what: string) => LatentDiffusionError): void {
  for (const key of ["dtype", "shape", "data_offsets"]) {
    if (!Object.hasOwn(entry, key)) throw fail(`its entry lacks ${key}`);
  }
  const extra = Object.keys(entry).find((key) => !["dtype", "shape", "data_offsets"].includes(key));
  if (extra !== undefined) throw fail(`its entry holds the unknown key ${JSON.stringify(extra)}`);
}

function parseSizes(value: JsonValue | undefined, key: string, fail: (what: string) => LatentDiffusionError): number[] {
  if (!Array.isArray(value)) throw fail(`${key} is not an array`);
  return value.map((size: JsonValue) => {
    if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
      throw fail(`Expected non-negative integers for ${key} but received ${JSON.stringify(size)}`);
    }
    return size;
  });
}

/** The bytes of a tensor; undefined where the product, or one of the partial products, is no exact number. */
export function byteLength(shape: readonly number[], itemBytes: number): number | undefined {
  let bytes = itemBytes;
  for (const size of shape) {
    bytes *= size;
    if (!Number.isSafeInteger(bytes)) return undefined;
  }
  return bytes;
}

/** Sort by place. Files are written in that order; the rest is sorted in runs that are then merged, so that the event loop is not held. */
async function sortExtents(extents: Extent[]): Promise<Extent[]> {
  let runs: Extent[][] = [];
  for (let i = 0; i < extents.length; i += SORTED_AT_ONCE) runs.push(extents.slice(i, i + SORTED_AT_ONCE));
  await inSteps(runs, (run) => run.sort(byPlace));
  while (runs.length > 1) {
    const merged: Extent[][] = [];
    for (let i = 0; i < runs.length; i += 2) {
      const both: Extent[] = [];
      await inSteps(merge(runs[i] ?? [], runs[i + 1] ?? []), (extent) => both.push(extent));
      merged.push(both);
    }
    runs = merged;
  }
  return runs[0] ?? [];
}

function byPlace(a: Extent, b: Extent): number {
  return a.begin - b.begin || a.end - b.end;
}

function* merge(left: readonly Extent[], right: readonly Extent[]): Generator<Extent> {
  let j = 0;
  for (const extent of left) {
    for (let next = right[j]; next && byPlace(next, extent) < 0; next = right[++j]) yield next;
    yield extent;
  }
  for (; j < right.length; j++) yield right[j] as Extent;
}

/** See that the tensors follow one another without holes or overlaps, to the end of the file exactly. */
function* checkExtents(path: string, ordered: readonly Extent[], dataBytes: number): Generator<Extent> {
  let previous: Extent | undefined;
  for (const extent of ordered) {
    const expected = previous?.end ?? 0;
    if (extent.begin !== expected) {
      const what = extent.begin > expected ? "leaves a hole after" : "overlaps";
      const neighbour = previous ? `tensor ${quote(previous.name)}, which ends at ${expected}` : "the header";
      throw invalid(path, `tensor ${quote(extent.name)}: begins at ${extent.begin} and ${what} ${neighbour}`);
    }
    previous = extent;
    yield extent;
  }
  const described = previous?.end ?? 0;
  if (described > dataBytes)
    throw invalid(
      path,
      `the file is cut short: the header describes ${described} bytes of tensors, but ${dataBytes} are there`,
    );
  if (described < dataBytes) throw invalid(path, `${dataBytes - described} bytes at the end belong to no tensor`);
}

function invalid(path: string, what: string): LatentDiffusionError {
  return new LatentDiffusionError("ERR_CHECKPOINT_INVALID", `${path}: ${what}`);
}
