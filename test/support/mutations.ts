import { xorshift } from "./xorshift.js";

/** Numbers that sizes and counts break on. */
const EXTREMES = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff];

/** One change of bytes at a place. */
type Change = (bytes: Buffer, at: number, random: () => number) => Buffer;

const CHANGES: readonly Change[] = [
  (bytes, at, random) => write(bytes, at, Buffer.of(random())),
  (bytes, at, random) => write(bytes, at, Buffer.of((bytes[at] ?? 0) ^ (1 << (random() % 8)))),
  (bytes, at, random) => write(bytes, at, number(EXTREMES[random() % EXTREMES.length] ?? 0, 4)),
  (bytes, at, random) => write(bytes, at, number(EXTREMES[random() % EXTREMES.length] ?? 0, 2)),
  (bytes, at, random) => remove(bytes, at, 1 + (random() % 16)),
  (bytes, at, random) => insert(bytes, at, bytes.subarray(at, at + 1 + (random() % 64))),
  (bytes, at, random) => insert(bytes, at, Buffer.from(Array.from({ length: 1 + (random() % 8) }, random))),
  (bytes, at, random) => {
    const from = random() % bytes.length;
    return write(bytes, at, Buffer.from(bytes.subarray(from, from + 1 + (random() % 64))));
  },
  (bytes, at) => bytes.subarray(0, at),
];

/**
 * Damage bytes in the ways in which files are damaged: bits, numbers at their limits, parts lost, doubled or moved, the end cut off.
 * @param seed any whole number but 0; the same seed gives the same bytes
 * @param begin @param end where the changes begin; default: anywhere
 */
export function mutate(original: Uint8Array, seed: number, begin = 0, end = original.length): Buffer {
  const numbers = xorshift(seed);
  // The first ones of seeds that are near each other are near each other too.
  for (let i = 0; i < 8; i++) numbers.next();
  const random = (): number => numbers.next().value;
  let bytes: Buffer = Buffer.from(original);
  for (let count = 1 + (random() % 3); count > 0 && bytes.length > 0; count--) {
    const change = CHANGES[random() % CHANGES.length] as Change;
    bytes = change(bytes, Math.min(bytes.length - 1, begin + (random() % (end - begin))), random);
  }
  return bytes;
}

function write(bytes: Buffer, at: number, data: Buffer): Buffer {
  data.copy(bytes, at);
  return bytes;
}

function insert(bytes: Buffer, at: number, data: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, at), data, bytes.subarray(at)]);
}

function remove(bytes: Buffer, at: number, count: number): Buffer {
  return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + count)]);
}

function number(value: number, bytes: number): Buffer {
  const data = Buffer.alloc(4);
  data.writeUInt32LE(value);
  return data.subarray(0, bytes);
}
