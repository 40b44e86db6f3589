import { LatentDiffusionError } from "../errors.js";
import { quote } from "../validate.js";
import { decodeUtf8 } from "./json.js";
import { viewOf } from "./zip-directory.js";

/** Integers beyond this are not of a checkpoint. */
const MAX_INTEGER_BYTES = 256;

const MAX_GLOBAL_BYTES = 1024;

/** The bytes end within the pickle: more of them may be in the file. */
export class PickleCutShortError extends LatentDiffusionError {}

/** The bytes of a pickle, and how far they are read. */
export class PickleInput {
  /** Of the next byte. */
  position: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #where: string;

  /** @param where what is read, for messages */
  constructor(bytes: Uint8Array, position: number, where: string) {
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
    this.#where = where;
    this.position = position;
  }

  /** @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID` */
  fail(what: string, position = this.position): never {
    throw new LatentDiffusionError("ERR_CHECKPOINT_INVALID", `${this.#where}: ${what} at byte ${position}`);
  }

  #take(length: number): number {
    const at = this.position;
    if (length > this.#bytes.length - at)
      throw new PickleCutShortError(
        "ERR_CHECKPOINT_INVALID",
        `${this.#where}: the pickle is cut short: it ends at byte ${this.#bytes.length}, within what begins at byte ${at}`,
      );
    this.position = at + length;
    return at;
  }

  /** The whole bytes of the little-endian numbers. */
  uint8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  uint16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  uint32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  int32(): number {
    return this.#view.getInt32(this.#take(4), true);
  }

  /** A size; beyond what a number holds, no bytes can follow. */
  uint64(): number {
    return Number(this.#view.getBigUint64(this.#take(8), true));
  }

  /** The one number that is written with its highest byte first. */
  float64(): number {
    return this.#view.getFloat64(this.#take(8), false);
  }

  /** An integer of any length, in two's complement. */
  integer(length: number): number | bigint {
    if (length > MAX_INTEGER_BYTES)
      return this.fail(`an integer of ${length} bytes, above the bound of ${MAX_INTEGER_BYTES},`);
    const bytes = this.bytes(length);
    if (length === 0) return 0;
    if (length === 8) {
      const value = viewOf(bytes).getBigInt64(0, true);
      return Number.isSafeInteger(Number(value)) ? Number(value) : value;
    }
    const hex = Buffer.from(bytes).reverse().toString("hex");
    const value = BigInt.asIntN(8 * length, BigInt(`0x${hex}`));
    return BigInt.asIntN(53, value) === value ? Number(value) : value;
  }

  bytes(length: number): Uint8Array {
    const at = this.#take(length);
    return this.#bytes.subarray(at, at + length);
  }

  text(length: number): string {
    const at = this.position;
    return decodeUtf8(this.bytes(length), `${this.#where}: the string at byte ${at}`);
  }

  /** Text that ends with its line. */
  line(): string {
    const at = this.position;
    const end = this.#bytes.indexOf(10, at);
    if (end < 0 && this.#bytes.length - at <= MAX_GLOBAL_BYTES) this.#take(this.#bytes.length - at + 1);
    if (end < 0 || end - at > MAX_GLOBAL_BYTES) this.fail(`a name of more than ${MAX_GLOBAL_BYTES} bytes`, at);
    const line = this.text(end - at);
    this.position++;
    return line;
  }

  /** How an unknown byte is written in messages. */
  static show(opcode: number): string {
    const character = opcode > 32 && opcode < 127 ? ` (${quote(String.fromCharCode(opcode))})` : "";
    return `0x${opcode.toString(16).padStart(2, "0")}${character}`;
  }
}
