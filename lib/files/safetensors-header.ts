import { LatentDiffusionError } from "../errors.js";
import type { DType } from "../native/contract.js";
import { decodeUtf8, isJsonObject, type JsonObject, type JsonValue, MAX_JSON_BYTES, parseJson } from "./json.js";

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
  const json = parseJson(decodeUtf8(bytes, `${path}: header`), `${path}: header`);
  if (!isJsonObject(json)) throw invalid(path, "the header is not a JSON object");
  const { __metadata__: metadata, ...entries } = json;
  const start = PREFIX_BYTES + length;
  const extents = Object.entries(entries).map(([name, value]) => parseEntry(path, name, value, start));
  return {
    metadata: metadata === undefined ? {} : parseMetadata(path, metadata),
    tensors: new Map(orderExtents(path, extents, source.size - start).map(({ name, entry }) => [name, entry])),
  };
}

async function readHeaderLength(source: ByteSource, path: string): Promise<number> {
  if (source.size < PREFIX_BYTES) throw invalid(path, `${source.size} bytes are too few for a safetensors file`);
  const prefix = await source.read(0, PREFIX_BYTES);
  if (prefix.length !== PREFIX_BYTES) throw invalid(path, "the file is cut short");
  const length = new DataView(prefix.buffer, prefix.byteOffset, PREFIX_BYTES).getBigUint64(0, true);
  // The format's own bound is 100 MB, which would hold the event loop for ten seconds.
  if (length > BigInt(MAX_JSON_BYTES)) {
    throw invalid(
      path,
      `a header of ${length} bytes, above the bound of ${MAX_JSON_BYTES}: not a checkpoint of this pipeline`,
    );
  }
  const available = source.size - PREFIX_BYTES;
  if (Number(length) > available) {
    throw invalid(path, `the file is cut short: a header of ${length} bytes, but only ${available} follow its length`);
  }
  return Number(length);
}

function parseMetadata(path: string, value: JsonValue): Record<string, string> {
  if (!isJsonObject(value)) throw invalid(path, "__metadata__ is not an object");
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string")
      throw invalid(path, `__metadata__ holds ${JSON.stringify(key)}, which is not a string`);
  }
  return value as Record<string, string>;
}

function parseEntry(path: string, name: string, value: JsonValue, start: number): Extent {
  const fail = (what: string): LatentDiffusionError => invalid(path, `tensor ${JSON.stringify(name)}: ${what}`);
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

/** Sort by place, and see that the tensors follow one another without holes or overlaps, to the end of the file exactly. */
function orderExtents(path: string, extents: Extent[], dataBytes: number): Extent[] {
  const ordered = extents.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let previous: Extent | undefined;
  for (const extent of ordered) {
    const expected = previous?.end ?? 0;
    if (extent.begin !== expected) {
      const what = extent.begin > expected ? "leaves a hole after" : "overlaps";
      const neighbour = previous ? `tensor ${JSON.stringify(previous.name)}, which ends at ${expected}` : "the header";
      throw invalid(path, `tensor ${JSON.stringify(extent.name)}: begins at ${extent.begin} and ${what} ${neighbour}`);
    }
    previous = extent;
  }
  const described = previous?.end ?? 0;
  if (described > dataBytes)
    throw invalid(
      path,
      `the file is cut short: the header describes ${described} bytes of tensors, but ${dataBytes} are there`,
    );
  if (described < dataBytes) throw invalid(path, `${dataBytes - described} bytes at the end belong to no tensor`);
  return ordered;
}

function invalid(path: string, what: string): LatentDiffusionError {
  return new LatentDiffusionError("ERR_CHECKPOINT_INVALID", `${path}: ${what}`);
}
