import { promisify } from "node:util";
import { inflateRaw } from "node:zlib";
import { quote } from "../validate.js";
import { inSteps } from "./json.js";
import type { ByteSource } from "./safetensors-header.js";
import {
  checkLocalHeader,
  type DirectoryEntry,
  LOCAL_BYTES,
  readDirectory,
  readExactly,
  zipError,
  type ZipMethod,
} from "./zip-directory.js";

const inflate = promisify(inflateRaw);

/** The local headers of a file are read in blocks of this size. */
const BLOCK_BYTES = 4096;

/** One record of a zip archive: where its bytes are. */
export interface ZipRecord {
  readonly name: string;
  readonly method: ZipMethod;
  /** In bytes, when it is unpacked. */
  readonly size: number;
  /** The bytes that it takes in the file. */
  readonly storedSize: number;
  /** Of the data, from the start of the file. */
  readonly offset: number;
}

/**
 * A zip archive as PyTorch writes one: its directory checked against the headers in front of the data, no two records in one
 * place, every byte within the file. Checksums are not compared: PyTorch can leave them out, and does not compare them either.
 */
export class ZipArchive {
  readonly #source: ByteSource;
  readonly #path: string;
  /** By name, in the order of the directory. */
  readonly records: ReadonlyMap<string, ZipRecord>;

  private constructor(source: ByteSource, path: string, records: ReadonlyMap<string, ZipRecord>) {
    this.#source = source;
    this.#path = path;
    this.records = records;
  }

  /**
   * Read and check the directory of an archive.
   * @param path the file's name, for messages
   * @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID` naming the file, the record and what is wrong
   */
  static async open(source: ByteSource, path: string): Promise<ZipArchive> {
    const { entries, offset } = await readDirectory(source, path);
    const ordered = [...entries].sort((a, b) => a.headerOffset - b.headerOffset);
    const located = new Map<string, ZipRecord>();
    const headers = new HeaderReader(source, path);
    for (const [i, entry] of ordered.entries()) {
      const end = ordered[i + 1]?.headerOffset ?? offset;
      const next = ordered[i + 1] ? `the record ${quote(ordered[i + 1]?.name ?? "")}` : "the directory";
      located.set(entry.name, await headers.locate(entry, end, next));
    }
    const records = new Map<string, ZipRecord>();
    await inSteps(entries, ({ name }) => records.set(name, located.get(name) as ZipRecord));
    return new ZipArchive(source, path, records);
  }

  /**
   * Read a record, and unpack it if it is compressed.
   * @param limit in bytes; a larger record is refused before it is read
   * @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID`
   */
  async read(record: ZipRecord, limit: number): Promise<Uint8Array> {
    const fail = (what: string): Error => zipError(this.#path, `record ${quote(record.name)}: ${what}`);
    if (record.size > limit || record.storedSize > limit)
      throw fail(`${Math.max(record.size, record.storedSize)} bytes, above the bound of ${limit}`);
    const stored = await readExactly(this.#source, record.offset, record.storedSize, this.#path);
    if (record.method === "stored") return stored;
    // One byte more than announced, so that a record that is too long is seen, and no more is ever unpacked.
    const bytes = await inflate(stored, { maxOutputLength: record.size + 1 }).catch(() => undefined);
    if (bytes?.length !== record.size)
      throw fail(`its ${record.storedSize} compressed bytes do not give the ${record.size} that are announced`);
    return bytes;
  }
}

/** Reads the local headers in the order of the file: many small records share one read. */
class HeaderReader {
  #block: Uint8Array = new Uint8Array(0);
  #begin = 0;
  readonly #source: ByteSource;
  readonly #path: string;

  constructor(source: ByteSource, path: string) {
    this.#source = source;
    this.#path = path;
  }

  /** @param end where the data must have ended @param next what begins there */
  async locate(entry: DirectoryEntry, end: number, next: string): Promise<ZipRecord> {
    const fail = (what: string): Error => zipError(this.#path, `record ${quote(entry.name)}: ${what}`);
    const needed = LOCAL_BYTES + entry.nameBytes;
    if (entry.headerOffset + needed > end)
      throw fail(`its local header at ${entry.headerOffset} overlaps ${next} at ${end}`);
    const header = await this.#read(entry.headerOffset, needed);
    const offset = entry.headerOffset + checkLocalHeader(header, entry, this.#path);
    if (offset + entry.storedSize > end)
      throw fail(`its ${entry.storedSize} bytes at ${offset} overlap ${next} at ${end}`);
    const { name, method, size, storedSize } = entry;
    return Object.freeze({ name, method, size, storedSize, offset });
  }

  async #read(offset: number, length: number): Promise<Uint8Array> {
    if (offset + length > this.#begin + this.#block.length) {
      const wanted = Math.max(length, Math.min(BLOCK_BYTES, this.#source.size - offset));
      this.#block = await readExactly(this.#source, offset, wanted, this.#path);
      this.#begin = offset;
    }
    return this.#block.subarray(offset - this.#begin, offset - this.#begin + length);
  }
}
