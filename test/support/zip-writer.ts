import { crc32 } from "node:zlib";

/** The numbers of a header that a test can get wrong. */
interface Fields {
  flags?: number;
  method?: number;
  storedSize?: number;
  size?: number;
  offset?: number;
}

/** One record to write. */
export interface ZipEntry {
  readonly name: string;
  /** As it is in the file. */
  readonly data: Uint8Array;
  /** In the directory, and in the local header too where `localFields` say nothing else. */
  readonly fields?: Fields;
  readonly localFields?: Fields;
  readonly localName?: string;
  /** Bytes of an extra field in the local header. */
  readonly padding?: number;
}

/** Write a zip archive, with the mistakes that a test asks for. Kept apart from lib/files, so that a mistake there cannot hide itself here. */
export function writeZip(
  entries: readonly ZipEntry[],
  options: {
    zip64?: boolean;
    comment?: string;
    count?: number;
    directoryOffset?: number;
    disk?: number;
    tail?: Buffer;
  } = {},
): Buffer {
  const locals: Buffer[] = [];
  const centrals: Buffer[] = [];
  let at = 0;
  for (const entry of entries) {
    const { name, data, fields = {}, localFields = {}, localName = name, padding = 0 } = entry;
    const plain = { flags: 0, method: 0, storedSize: data.length, size: data.length, offset: at, ...fields };
    const extra = padding === 0 ? Buffer.alloc(0) : Buffer.concat([u16(0x4246), u16(padding), Buffer.alloc(padding)]);
    const crc = u32(typeof crc32 === "function" ? crc32(data) : 0);
    const head = (f: typeof plain): Buffer[] => [
      u16(20),
      u16(f.flags),
      u16(f.method),
      u32(0),
      crc,
      u32(f.storedSize),
      u32(f.size),
    ];
    const local = Buffer.concat([
      u32(0x04034b50),
      ...head({ ...plain, ...localFields }),
      u16(Buffer.byteLength(localName)),
      u16(extra.length),
      Buffer.from(localName),
      extra,
      data,
    ]);
    const wide = options.zip64 === true;
    const zip64 = wide
      ? Buffer.concat([u16(1), u16(24), u64(plain.size), u64(plain.storedSize), u64(plain.offset)])
      : Buffer.alloc(0);
    const narrow = wide ? { ...plain, size: 0xffffffff, storedSize: 0xffffffff, offset: 0xffffffff } : plain;
    centrals.push(
      Buffer.concat([
        u32(0x02014b50),
        u16(20),
        ...head(narrow),
        u16(Buffer.byteLength(name)),
        u16(zip64.length),
        u16(0),
        u16(0),
        u16(0),
        u32(0),
        u32(narrow.offset),
        Buffer.from(name),
        zip64,
      ]),
    );
    locals.push(local);
    at += local.length;
  }
  const directory = Buffer.concat(centrals);
  const count = options.count ?? entries.length;
  const offset = options.directoryOffset ?? at;
  const end64 = Buffer.concat([
    u32(0x06064b50),
    u64(44),
    u16(45),
    u16(45),
    u32(0),
    u32(0),
    u64(count),
    u64(count),
    u64(directory.length),
    u64(offset),
    u32(0x07064b50),
    u32(0),
    u64(at + directory.length),
    u32(1),
  ]);
  const comment = Buffer.from(options.comment ?? "", "latin1");
  const isWide = options.zip64 === true;
  const end = Buffer.concat([
    u32(0x06054b50),
    u16(options.disk ?? 0),
    u16(0),
    u16(isWide ? 0xffff : count),
    u16(isWide ? 0xffff : count),
    u32(isWide ? 0xffffffff : directory.length),
    u32(isWide ? 0xffffffff : offset),
    u16(comment.length),
    comment,
  ]);
  return Buffer.concat([...locals, directory, ...(isWide ? [end64] : []), end, options.tail ?? Buffer.alloc(0)]);
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
