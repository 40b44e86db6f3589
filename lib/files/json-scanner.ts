import { LatentDiffusionError } from "../errors.js";
import { quote, shorten } from "../validate.js";

/** Deep enough for any checkpoint's file, and far from the end of the stack. */
export const MAX_DEPTH = 64;

/** Characters between two pauses of {@link JsonScanner.members}: some milliseconds of work. */
const PAUSE_EVERY = 262_144;

/** Within +-2^53 a number holds every integer; fewer digits than these need no look. */
const SURE_DIGITS = 15;

/** What JSON.parse cannot read and Python writes: where it is, what to parse instead, and the way to its place. */
interface NonFinite {
  readonly begin: number;
  readonly end: number;
  readonly path: readonly (string | number)[];
  readonly value: number;
}

/** One member of the outermost object, or the whole text where it is no object. */
export interface Member {
  /** Null for a text that is no object. */
  readonly key: string | null;
  readonly begin: number;
  readonly end: number;
  /** The words `NaN`, `Infinity` and `-Infinity` in it. */
  readonly nonFinite: readonly NonFinite[];
}

/** An object or array that the scanner is in. */
interface Frame {
  readonly isObject: boolean;
  readonly keys: Set<string>;
  /** The place of the present value. */
  key: string | number;
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
const WORD = /-?[A-Za-z]+/y;
const WORDS = new Set(["true", "false", "null"]);
const NON_FINITE = new Map([
  ["NaN", NaN],
  ["Infinity", Infinity],
  ["-Infinity", -Infinity],
]);

/**
 * Finds in a JSON text what `JSON.parse` hides, or refuses without a place: keys that appear twice in one object, integers that a number
 * cannot hold, halves of surrogate pairs, deep nesting. It builds no values.
 */
export class JsonScanner {
  #at = 0;
  #nonFinite: NonFinite[] = [];
  readonly #frames: Frame[] = [];

  /**
   * @param where what is read, for messages
   * @param nonFinite whether Python's `NaN`, `Infinity` and `-Infinity` are taken
   */
  constructor(
    readonly text: string,
    readonly where: string,
    readonly nonFinite: boolean,
  ) {}

  /**
   * Scan the text from its start to its end.
   * @yields each member of the outermost object once it has been checked, or the whole text where that is no object or is empty; null where
   *   the caller may pause
   * @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID` naming `where`, line and column
   */
  *members(): Generator<Member | null, void, undefined> {
    this.#skipSpace();
    const start = this.#at;
    const isObject = this.text[start] === "{";
    let begin = start;
    let pauseAt = PAUSE_EVERY;
    let any = false;
    do {
      if (this.#frames.length === 1) begin = this.#at;
      if (this.#openValue()) continue;
      for (let frame = this.#frames.at(-1); frame; frame = this.#frames.at(-1)) {
        if (isObject && this.#frames.length === 1) {
          yield this.#member(String(frame.key), begin);
          any = true;
        }
        if (this.#next(frame)) break;
        this.#frames.pop();
      }
      if (this.#at >= pauseAt) {
        yield null;
        pauseAt = this.#at + PAUSE_EVERY;
      }
    } while (this.#frames.length > 0);
    const whole = this.#member(null, start);
    this.#skipSpace();
    if (this.#at < this.text.length) this.fail(`${this.#found()} after the end of the value`);
    if (!any) yield whole;
  }

  /** Throw the error for what is wrong at a place: by default, where the scanner is. */
  fail(what: string, at = this.#at): never {
    let line = 1;
    let lineStart = 0;
    for (let end = this.text.indexOf("\n"); end >= 0 && end < at; end = this.text.indexOf("\n", lineStart)) {
      line++;
      lineStart = end + 1;
    }
    throw new LatentDiffusionError(
      "ERR_CHECKPOINT_INVALID",
      `${this.where}: not valid JSON at line ${line}, column ${at - lineStart + 1}: ${what}`,
    );
  }

  #member(key: string | null, begin: number): Member {
    const nonFinite = this.#nonFinite;
    this.#nonFinite = [];
    return { key, begin, end: this.#at, nonFinite };
  }

  /** Go over a scalar or an empty object or array; or go into one that is not empty. @returns whether another value begins here */
  #openValue(): boolean {
    if (this.#frames.length > MAX_DEPTH) this.fail(`nested deeper than ${MAX_DEPTH} levels`);
    const first = this.text[this.#at];
    if (first !== "{" && first !== "[") {
      if (first === '"') this.#string();
      else if (!this.#number()) this.#word();
      return false;
    }
    const isObject = first === "{";
    this.#at++;
    if (this.#take(isObject ? "}" : "]")) return false;
    const frame: Frame = { isObject, keys: new Set(), key: 0 };
    this.#frames.push(frame);
    if (isObject) this.#key(frame);
    this.#skipSpace();
    return true;
  }

  /** After a value: go on to the next one of the same object or array. @returns false where that has ended */
  #next(frame: Frame): boolean {
    if (!this.#take(",")) {
      this.#expect(frame.isObject ? "}" : "]");
      return false;
    }
    if (frame.isObject) this.#key(frame);
    else frame.key = Number(frame.key) + 1;
    this.#skipSpace();
    return true;
  }

  #key(frame: Frame): void {
    this.#skipSpace();
    const start = this.#at;
    if (this.text[start] !== '"') this.fail(`expected a key in double quotes but found ${this.#found()}`);
    const key = this.#string();
    if (frame.keys.has(key)) this.fail(`the key ${quote(key)} appears twice in one object`, start);
    frame.keys.add(key);
    frame.key = key;
    this.#expect(":");
  }

  /** Go over a string. @returns its value */
  #string(): string {
    const { text } = this;
    let end = this.#at + 1;
    let isPlain = true;
    for (; end < text.length; end++) {
      const unit = text.charCodeAt(end);
      if (unit === 0x22) break;
      if (unit === 0x5c) end++;
      if (unit < 0x20 || unit === 0x5c || (unit >= 0xd800 && unit <= 0xdfff)) isPlain = false;
    }
    if (end >= text.length) this.fail("a string without its closing quote");
    const value = isPlain ? text.slice(this.#at + 1, end) : this.#escaped(end);
    this.#at = end + 1;
    return value;
  }

  #escaped(end: number): string {
    let value: string;
    try {
      // A single string literal: JSON.parse knows the escapes, and refuses control characters.
      value = JSON.parse(this.text.slice(this.#at, end + 1)) as string;
    } catch {
      this.fail("a string with a bad escape or a control character");
    }
    if (/\p{Surrogate}/u.test(value)) this.fail("a string with half of a surrogate pair");
    return value;
  }

  #number(): boolean {
    const match = this.#match(NUMBER);
    if (!match) return false;
    const [digits, fraction, exponent] = match;
    if (digits.length > SURE_DIGITS && fraction === undefined && exponent === undefined) {
      if (!Number.isSafeInteger(Number(digits))) this.fail(`the integer ${shorten(digits, 40)} is beyond 2^53`);
    }
    this.#at += digits.length;
    return true;
  }

  #word(): void {
    const word = this.#match(WORD)?.[0] ?? "";
    const value = NON_FINITE.get(word);
    if (value === undefined && !WORDS.has(word)) this.fail(`expected a value but found ${this.#found()}`);
    if (value !== undefined) {
      if (!this.nonFinite) this.fail(`${word} is not JSON`);
      const path = this.#frames.map(({ key }) => key);
      this.#nonFinite.push({ begin: this.#at, end: this.#at + word.length, path, value });
    }
    this.#at += word.length;
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    return pattern.exec(this.text);
  }

  #skipSpace(): void {
    for (; this.#at < this.text.length; this.#at++) {
      const unit = this.text.charCodeAt(this.#at);
      if (unit !== 0x20 && unit !== 0x0a && unit !== 0x0d && unit !== 0x09) return;
    }
  }

  #take(character: string): boolean {
    this.#skipSpace();
    if (this.text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #expect(character: string): void {
    if (!this.#take(character)) this.fail(`expected "${character}" but found ${this.#found()}`);
  }

  #found(): string {
    const code = this.text.codePointAt(this.#at);
    return code === undefined ? "the end of the text" : JSON.stringify(String.fromCodePoint(code));
  }
}
