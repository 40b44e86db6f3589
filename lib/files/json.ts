import { LatentDiffusionError } from "../errors.js";
import { checkArray, checkPlainObject, shorten, unexpected } from "../validate.js";

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;

/** What a JSON object becomes: own properties only, so `__proto__` is a key like any other. */
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

/**
 * What may be parsed at most: the parser runs on the event loop, and takes about a tenth of a second for a megabyte. Forty thousand
 * tensors are described in so much; the largest network of this pipeline has under a thousand.
 */
export const MAX_JSON_BYTES = 5_000_000;

/** Deep enough for any checkpoint's file, and far from the end of the stack. */
const MAX_DEPTH = 64;

const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
const SPACE = /[ \t\n\r]*/y;
const WORDS = new Map<string, JsonValue>([
  ["true", true],
  ["false", false],
  ["null", null],
  ["NaN", NaN],
  ["Infinity", Infinity],
  ["-Infinity", -Infinity],
]);
const WORD = /-?[A-Za-z]+/y;

/**
 * Parse JSON strictly. Unlike `JSON.parse` it refuses a key that stands twice in one object (Python would take the last one,
 * other readers the first), integers that a number cannot hold, lone surrogates and deep nesting; and it reads Python's
 * `NaN`, `Infinity` and `-Infinity` where they are allowed.
 * @param where what is read, for the message: the file's path
 * @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID` naming `where`, line and column
 */
export function parseJson(text: string, where: string, options: { nonFinite?: boolean } = {}): JsonValue {
  return new Parser(text, where, options.nonFinite ?? false).document();
}

/** Decode bytes that must be UTF-8. */
export function decodeUtf8(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new LatentDiffusionError("ERR_CHECKPOINT_INVALID", `${where}: not valid UTF-8`, { cause });
  }
}

/** Tell objects from the other JSON values. */
export function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Copy what a caller says is JSON.
 * @param where the key or option, for the message
 * @returns a copy of plain objects and arrays; own properties only
 * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for what JSON cannot hold (functions, instances of classes, cycles, nesting
 *   beyond 64 levels), naming the place in it
 */
export function copyJson(value: unknown, where: string, depth = 0): JsonValue {
  if (depth > MAX_DEPTH)
    throw unexpected(`JSON nested no deeper than ${MAX_DEPTH} levels, without cycles,`, where, value);
  if (value === null || typeof value === "boolean" || typeof value === "number" || typeof value === "string")
    return value;
  if (Array.isArray(value))
    return checkArray(value, "an array", where, (item, i) => copyJson(item, `${where}[${i}]`, depth + 1));
  const copy = {};
  for (const [key, item] of Object.entries(checkPlainObject(value, "a JSON value", where)))
    // Defined, not assigned: assigning to `__proto__` would change the object's prototype.
    Object.defineProperty(copy, key, {
      value: copyJson(item, `${where}.${shorten(key)}`, depth + 1),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  return copy;
}

class Parser {
  #at = 0;

  constructor(
    readonly text: string,
    readonly where: string,
    readonly nonFinite: boolean,
  ) {}

  document(): JsonValue {
    const value = this.#value(0);
    this.#skipSpace();
    if (this.#at < this.text.length) this.#fail(`${this.#found()} after the end of the value`);
    return value;
  }

  #value(depth: number): JsonValue {
    if (depth > MAX_DEPTH) this.#fail(`nested deeper than ${MAX_DEPTH} levels`);
    this.#skipSpace();
    const first = this.text[this.#at];
    if (first === "{") return this.#object(depth);
    if (first === "[") return this.#array(depth);
    if (first === '"') return this.#string();
    return this.#number() ?? this.#word();
  }

  #object(depth: number): JsonObject {
    const object: Record<string, JsonValue> = {};
    this.#at++;
    if (this.#take("}")) return object;
    do {
      this.#skipSpace();
      if (this.text[this.#at] !== '"') this.#fail(`expected a key in double quotes but found ${this.#found()}`);
      const start = this.#at;
      const key = this.#string();
      if (Object.hasOwn(object, key)) {
        this.#at = start;
        this.#fail(`the key ${JSON.stringify(key)} stands twice in one object`);
      }
      this.#expect(":");
      // Defined, not assigned: assigning to `__proto__` would change the object's prototype.
      Object.defineProperty(object, key, {
        value: this.#value(depth + 1),
        enumerable: true,
        configurable: true,
        writable: true,
      });
    } while (this.#take(","));
    this.#expect("}");
    return object;
  }

  #array(depth: number): JsonValue[] {
    const array: JsonValue[] = [];
    this.#at++;
    if (this.#take("]")) return array;
    do array.push(this.#value(depth + 1));
    while (this.#take(","));
    this.#expect("]");
    return array;
  }

  #string(): string {
    let end = this.#at + 1;
    while (end < this.text.length && this.text[end] !== '"') end += this.text[end] === "\\" ? 2 : 1;
    let value: string;
    try {
      // A single string literal: JSON.parse knows the escapes, and refuses control characters.
      value = JSON.parse(this.text.slice(this.#at, end + 1)) as string;
    } catch {
      this.#fail(
        end < this.text.length
          ? "a string with a bad escape or a control character"
          : "a string without its closing quote",
      );
    }
    if (/\p{Surrogate}/u.test(value)) this.#fail("a string with half of a surrogate pair");
    this.#at = end + 1;
    return value;
  }

  #number(): number | undefined {
    const match = this.#match(NUMBER);
    if (!match) return undefined;
    const value = Number(match[0]);
    const isInteger = match[1] === undefined && match[2] === undefined;
    if (isInteger && !Number.isSafeInteger(value)) this.#fail(`the integer ${shorten(match[0], 40)} is beyond 2^53`);
    this.#at += match[0].length;
    return value;
  }

  #word(): JsonValue {
    const word = this.#match(WORD)?.[0] ?? "";
    const value = WORDS.get(word);
    if (value === undefined) this.#fail(`expected a value but found ${this.#found()}`);
    if (typeof value === "number" && !this.nonFinite) this.#fail(`${word} is not JSON`);
    this.#at += word.length;
    return value;
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    return pattern.exec(this.text);
  }

  #skipSpace(): void {
    this.#at += this.#match(SPACE)?.[0].length ?? 0;
  }

  #take(character: string): boolean {
    this.#skipSpace();
    if (this.text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #expect(character: string): void {
    if (!this.#take(character)) this.#fail(`expected "${character}" but found ${this.#found()}`);
  }

  #found(): string {
    const code = this.text.codePointAt(this.#at);
    return code === undefined ? "the end of the text" : JSON.stringify(String.fromCodePoint(code));
  }

  #fail(what: string): never {
    const before = this.text.slice(0, this.#at).split("\n");
    const position = `line ${before.length}, column ${(before.at(-1) ?? "").length + 1}`;
    throw new LatentDiffusionError("ERR_CHECKPOINT_INVALID", `${this.where}: not valid JSON at ${position}: ${what}`);
  }
}
