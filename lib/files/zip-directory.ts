import { LatentDiffusionError } from "../errors.js";
import { quote } from "../validate.js";
import { decodeUtf8, inSteps } from "./json.js";
import { HEAD_BYTES, refuseMisplaced } from "./misplaced.js";
import type { ByteSource } from "./safetensors-header.js";

/** A network has some thousands of records at most; each one costs memory before it is looked at. */
const MAX_ENTRIES = 65_536;

const END_BYTES = 22;
const MAX_COMMENT_BYTES = 0xffff;
const LOCATOR_BYTES = 20;
const END64_BYTES = 56;
const ENTRY_BYTES = 46;

const SIGNATURE = { local: 0x04034b50, entry: 0x02014b50, end: 0x06054b50, end64: 0x06064b50, locator: 0x07064b50 };

/** The only two ways in which PyTorch stores a record. */
export type ZipMethod = "stored" | "deflated";

/** One record as the central directory describes it; all sizes in bytes. */
export interface DirectoryEntry {
  readonly name: string;
  /** The name's length as the file spells it. */
  readonly nameBytes: number;
  readonly method: ZipMethod;
  /** Whether the local header leaves the sizes to a descriptor behind the data. */
  readonly hasDescriptor: boolean;
  readonly storedSize: number;
  readonly size: number;
  /** Of the local header, from the start of the file. */
  readonly headerOffset: number;
}

/** Where the central directory is. */
interface DirectoryPlace {
  readonly count: number;
  readonly size: number;
  readonly offset: number;
}

/** What a zip archive says of its records. */
export interface Directory {
  readonly entries: readonly DirectoryEntry[];
  /** Where the directory begins, from the start of the file: all records are before it. */
  readonly offset: number;
}

/**
 * Read the central directory of a zip archive, zip64 included.
 * @param path the file's name, for messages
 * @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID` naming the file, the record and what is wrong
 */
export async function readDirectory(source: ByteSource, path: string): Promise<Directory> {
  refuseMisplaced(await source.read(0, Math.min(source.size, HEAD_BYTES)), path);
  const place = await findDirectory(source, path);
  if (place.count > MAX_ENTRIES)
    throw zipError(path, `a zip archive of ${place.count} records, above the bound of ${MAX_ENTRIES}`);
  const bytes = await readExactly(source, place.offset, place.size, path);
  const entries: DirectoryEntry[] = [];
  const names = new Set<string>();
  await inSteps(parseEntries(bytes, place, path), (entry) => {
    if (names.has(entry.name)) throw zipError(path, `the record ${quote(entry.name)} is there twice`);
    names.add(entry.name);
    entries.push(entry);
  });
  return { entries, offset: place.offset };
}

/** The archive ends with its end record, and a comment that may hold the record's signature by chance. */
async function findDirectory(source: ByteSource, path: string): Promise<DirectoryPlace> {
  const length = Math.min(source.size, LOCATOR_BYTES + END_BYTES + MAX_COMMENT_BYTES);
  const start = source.size - length;
  const tail = viewOf(await readExactly(source, start, length, path));
  for (let at = length - END_BYTES; at >= 0; at--) {
    if (tail.getUint32(at, true) !== SIGNATURE.end) continue;
    if (tail.getUint16(at + 20, true) !== length - at - END_BYTES) continue;
    return parseEnd(source, path, tail, { at, offset: start + at });
  }
  throw zipError(path, "no end of a zip archive: the file is cut short, or is no zip archive");
}

async function parseEnd(
  source: ByteSource,
  path: string,
  tail: DataView,
  end: { readonly at: number; readonly offset: number },
): Promise<DirectoryPlace> {
  const { at } = end;
  const disks = [tail.getUint16(at + 4, true), tail.getUint16(at + 6, true)];
  let place: DirectoryPlace = {
    count: tail.getUint16(at + 10, true),
    size: tail.getUint32(at + 12, true),
    offset: tail.getUint32(at + 16, true),
  };
  let before = end.offset;
  const locator = at - LOCATOR_BYTES;
  if (locator >= 0 && tail.getUint32(locator, true) === SIGNATURE.locator) {
    before = toSize(tail.getBigUint64(locator + 8, true), path, "the end record's place");
    if (before > end.offset - LOCATOR_BYTES - END64_BYTES)
      throw zipError(path, `the zip64 end record is said to be at ${before}, beyond its locator`);
    place = parseEnd64(viewOf(await readExactly(source, before, END64_BYTES, path)), path, before);
  }
  if (disks.some((disk) => disk !== 0 && disk !== 0xffff)) throw zipError(path, "a zip archive of several disks");
  if (place.offset > before || place.size > before - place.offset)
    throw zipError(
      path,
      `a directory of ${place.size} bytes is said to be at ${place.offset}, but the end record is at ${before}`,
    );
  return place;
}

function parseEnd64(view: DataView, path: string, offset: number): DirectoryPlace {
  if (view.getUint32(0, true) !== SIGNATURE.end64) throw zipError(path, `no zip64 end record at ${offset}`);
  return {
    count: toSize(view.getBigUint64(32, true), path, "the number of records"),
    size: toSize(view.getBigUint64(40, true), path, "the directory's size"),
    offset: toSize(view.getBigUint64(48, true), path, "the directory's place"),
  };
}

function* parseEntries(bytes: Uint8Array, place: DirectoryPlace, path: string): Generator<DirectoryEntry> {
  const view = viewOf(bytes);
  let at = 0;
  for (let i = 0; i < place.count; i++) {
    const where = `record ${i} of the directory, at ${place.offset + at}`;
    if (at + ENTRY_BYTES > bytes.length || view.getUint32(at, true) !== SIGNATURE.entry)
      throw zipError(path, `${where}: there is no such record; the directory holds fewer than ${place.count}`);
    const lengths = [28, 30, 32].map((field) => view.getUint16(at + field, true)) as [number, number, number];
    const next = at + ENTRY_BYTES + lengths[0] + lengths[1] + lengths[2];
    if (next > bytes.length) throw zipError(path, `${where}: it reaches beyond the directory`);
    yield parseEntry(bytes, at, lengths, path, where);
    at = next;
  }
  if (at !== bytes.length) throw zipError(path, `${bytes.length - at} bytes of the directory belong to no record`);
}

function parseEntry(
  bytes: Uint8Array,
  at: number,
  [nameBytes, extraBytes]: readonly [number, number, number],
  path: string,
  where: string,
): DirectoryEntry {
  const view = viewOf(bytes);
  const name = decodeUtf8(bytes.subarray(at + ENTRY_BYTES, at + ENTRY_BYTES + nameBytes), `${path}: ${where}`);
  const what = `record ${quote(name)}`;
  const flags = view.getUint16(at + 8, true);
  if ((flags & 0x2041) !== 0) throw zipError(path, `${what}: it is encrypted`);
  const extra = bytes.subarray(at + ENTRY_BYTES + nameBytes, at + ENTRY_BYTES + nameBytes + extraBytes);
  const [size, storedSize, headerOffset] = widen(
    [24, 20, 42].map((field) => view.getUint32(at + field, true)),
    extra,
    path,
    what,
  ) as [number, number, number];
  const method = parseMethod(view.getUint16(at + 10, true), path, what);
  if (method === "stored" && size !== storedSize)
    throw zipError(path, `${what}: stored as it is, but of ${size} bytes in ${storedSize}`);
  return { name, nameBytes, method, hasDescriptor: (flags & 8) !== 0, storedSize, size, headerOffset };
}

function parseMethod(method: number, path: string, what: string): ZipMethod {
  if (method === 0) return "stored";
  if (method === 8) return "deflated";
  throw zipError(path, `${what}: compressed by method ${method}, where PyTorch knows only 0 (stored) and 8 (deflate)`);
}

/** Replace the fields that are too narrow for their values by those of the zip64 field, which holds them in this order. */
function widen(fields: readonly number[], extra: Uint8Array, path: string, what: string): number[] {
  if (!fields.includes(0xffffffff)) return [...fields];
  const wide = findExtra(extra, 1);
  let at = 0;
  return fields.map((field) => {
    if (field !== 0xffffffff) return field;
    at += 8;
    if (!wide || at > wide.length) throw zipError(path, `${what}: its zip64 sizes are missing`);
    return toSize(viewOf(wide).getBigUint64(at - 8, true), path, `${what}: a size`);
  });
}

function findExtra(extra: Uint8Array, wanted: number): Uint8Array | undefined {
  const view = viewOf(extra);
  for (let at = 0; at + 4 <= extra.length;) {
    const length = view.getUint16(at + 2, true);
    if (view.getUint16(at, true) === wanted) return extra.subarray(at + 4, at + 4 + length);
    at += 4 + length;
  }
  return undefined;
}

function toSize(value: bigint, path: string, what: string): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw zipError(path, `${what} is ${value}, beyond any file`);
  return Number(value);
}

/** Read bytes that must be there. */
export async function readExactly(
  source: ByteSource,
  offset: number,
  length: number,
  path: string,
): Promise<Uint8Array> {
  const bytes = await source.read(offset, length);
  if (bytes.length === length) return bytes;
  throw zipError(path, `the file is cut short: ${bytes.length} of ${length} bytes at ${offset}`);
}

/** The numbers in bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Check that a local header is where the directory says, and says the same. @returns bytes from the header to the data */
export function checkLocalHeader(bytes: Uint8Array, entry: DirectoryEntry, path: string): number {
  const view = viewOf(bytes);
  const fail = (what: string): LatentDiffusionError =>
    zipError(path, `record ${quote(entry.name)}: ${what} at ${entry.headerOffset}`);
  if (view.getUint32(0, true) !== SIGNATURE.local) throw fail("it has no local header");
  if (view.getUint16(26, true) !== entry.nameBytes) throw fail("another name is in its local header");
  const name = Buffer.from(bytes.buffer, bytes.byteOffset + LOCAL_BYTES, entry.nameBytes).toString("utf8");
  if (name !== entry.name) throw fail(`another name, ${quote(name)}, is in its local header`);
  if (parseMethod(view.getUint16(8, true), path, `record ${quote(entry.name)}`) !== entry.method)
    throw fail("another method is in its local header");
  const sizes = [
    [view.getUint32(18, true), entry.storedSize],
    [view.getUint32(22, true), entry.size],
  ] as const;
  for (const [local, central] of sizes) {
    // Zero: the size is behind the data. All ones: it is in the zip64 field.
    const isElsewhere = local === 0xffffffff || (entry.hasDescriptor && local === 0);
    if (!isElsewhere && local !== central)
      throw fail(`${local} bytes are in its local header and ${central} in the directory`);
  }
  return LOCAL_BYTES + entry.nameBytes + view.getUint16(28, true);
}

/** The fixed part of a local header. */
export const LOCAL_BYTES = 30;

/** An error about a zip archive. */
export function zipError(path: string, what: string): LatentDiffusionError {
  return new LatentDiffusionError("ERR_CHECKPOINT_INVALID", `${path}: ${what}`);
}
