import { fileURLToPath } from "node:url";
import { InvalidArgumentError } from "./errors.js";

/** A name or a value of a caller takes no more characters than this in a message. */
const SHOWN = 60;

/** Above this an array of options is a mistake, and reading it element by element would hold the event loop. */
const MOST_ELEMENTS = 65_536;

/**
 * Name a received value with its type, short enough for an error message.
 * @param value anything; what throws when it is looked at (a revoked proxy, a getter) is described without a look
 * @returns at most about 100 characters; never throws
 */
export function describe(value: unknown): string {
  try {
    return describeReadable(value);
  } catch {
    return `${typeof value === "function" ? "a function" : "an object"} that cannot be read`;
  }
}

function describeReadable(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === "string") return `${quote(value)} of type string`;
  if (typeof value === "function") return `function ${nameOf(value, "(anonymous)")}`;
  if (typeof value === "bigint" && BigInt.asIntN(128, value) !== value)
    return "a number of more than 128 bits of type bigint";
  if (typeof value !== "object") return `${shorten(String(value))} of type ${typeof value}`;
  if (Array.isArray(value)) return `an array of length ${value.length}`;
  const { constructor } = value as { constructor?: unknown };
  return `an instance of ${typeof constructor === "function" ? nameOf(constructor, "(anonymous)") : "Object"}`;
}

/** The name of a function, which anyone may have redefined. */
function nameOf(named: { readonly name?: unknown }, fallback: string): string {
  const { name } = named;
  return typeof name === "string" && name !== "" ? shorten(name) : fallback;
}

/** Cut a text that may have any length down to what a message can hold. */
export function shorten(text: string, length = SHOWN): string {
  return text.length > length ? `${text.slice(0, length - 3)}...` : text;
}

/** Put a name that may have any length in double quotes. */
export function quote(text: string): string {
  return JSON.stringify(shorten(text));
}

/** Build the one form of message that every check here uses: what was expected, for which option, what came. */
export function unexpected(expected: string, option: string, value: unknown): InvalidArgumentError {
  return new InvalidArgumentError(`Expected ${expected} for ${option} but received ${describe(value)}`);
}

/**
 * Tell plain objects, of any realm, from arrays, promises, Maps and instances of classes.
 * @returns true for `{}`, `Object.create(null)` and their like of another realm; never throws
 */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  try {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
    const prototype = Object.getPrototypeOf(value) as object | null;
    if (prototype === null) return true;
    // Every realm has an Object.prototype of its own; it is the end of its chain, and says so by its constructor.
    if (Object.getPrototypeOf(prototype) !== null) return false;
    const constructor: unknown = Object.getOwnPropertyDescriptor(prototype, "constructor")?.value;
    return typeof constructor === "function" && constructor.name === "Object";
  } catch {
    return false;
  }
}

/**
 * Copy a plain object, each property read once.
 * @param expected what it should be, for the message: `"an options object"`
 * @returns its own enumerable properties, without a prototype; so nothing is inherited that was not checked
 * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for any other value, a promise included, and for a property that cannot be read
 */
export function checkPlainObject(value: unknown, expected: string, where: string): Record<string, unknown> {
  if (!isPlainObject(value)) {
    const hint = isThenable(value) ? "; was an await forgotten?" : "";
    throw new InvalidArgumentError(`Expected ${expected} for ${where} but received ${describe(value)}${hint}`);
  }
  const copy = Object.create(null) as Record<string, unknown>;
  try {
    for (const name of Object.keys(value)) copy[name] = value[name];
  } catch {
    throw unexpected(`${expected} whose properties can be read`, where, value);
  }
  return copy;
}

function isThenable(value: unknown): boolean {
  try {
    return typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";
  } catch {
    return false;
  }
}

/**
 * Check an options object against the names it may have.
 * @returns a copy, `{}` for undefined
 * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for what is not a plain object; naming the unknown option and the nearest known one
 */
export function checkOptions<T extends object>(
  options: T | undefined,
  known: readonly string[],
  where: string,
): Partial<T> {
  if (options === undefined) return {};
  const copy = checkPlainObject(options, "an options object", where);
  for (const name of Object.keys(copy)) {
    if (!known.includes(name))
      throw new InvalidArgumentError(`Unknown option ${quote(name)} for ${where}${suggest(name, known)}`);
  }
  return copy as Partial<T>;
}

/**
 * Copy an array, its length and each element read once.
 * @param expected what it should be, for the message: `"an array of sizes"`
 * @param check checks one element, undefined for a hole, and says which by its index; the first one that fails ends the copying
 * @param most the largest length
 * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for what is not an array, is longer, or cannot be read; what `check` throws
 */
export function checkArray<T>(
  value: unknown,
  expected: string,
  option: string,
  check: (element: unknown, index: number) => T,
  most = MOST_ELEMENTS,
): T[] {
  const elements: T[] = [];
  try {
    if (!Array.isArray(value)) throw unexpected(expected, option, value);
    const { length } = value;
    if (!(length <= most)) throw unexpected(`${expected} (at most ${most})`, option, value);
    for (let i = 0; i < length; i++) elements.push(check(value[i], i));
  } catch (error) {
    if (error instanceof Error && "code" in error) throw error;
    throw unexpected(`${expected} that can be read`, option, value);
  }
  return elements;
}

/** Tell arrays, of any realm, from all else; what cannot be read, as a revoked proxy, is none. */
export function isArray(value: unknown): value is unknown[] {
  try {
    return Array.isArray(value);
  } catch {
    return false;
  }
}

/** Whether an object has methods of these names; never throws. */
export function hasMethods(value: unknown, ...names: readonly string[]): boolean {
  try {
    return names.every((name) => typeof (value as Readonly<Record<string, unknown>>)[name] === "function");
  } catch {
    return false;
  }
}

/** A clause with the nearest known name, or with all names where none is near. */
export function suggest(name: string, known: readonly string[]): string {
  let nearest = "";
  let best = Infinity;
  // The distance takes time by the product of both lengths: no known name is that long.
  for (const candidate of name.length > SHOWN ? [] : known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < best) [nearest, best] = [candidate, distance];
  }
  if (best <= Math.max(2, Math.floor(name.length / 2)) && nearest !== "")
    return `; did you mean ${JSON.stringify(nearest)}?`;
  return known.length > 0 ? `; known: ${known.join(", ")}` : "; it takes none";
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(substitution, (previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}

/** Check a whole number within `[min, max]`. */
export function checkInteger(
  value: unknown,
  option: string,
  min: number,
  max: number = Number.MAX_SAFE_INTEGER,
): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min || value > max) {
    const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
    throw unexpected(`an integer ${range}`, option, value);
  }
  return value;
}

/** Check a finite number within `[min, max]`. */
export function checkNumber(value: unknown, option: string, min = -Infinity, max = Infinity): number {
  if (typeof value !== "number" || !Number.isFinite(value) || value < min || value > max) {
    const range = min === -Infinity && max === Infinity ? "" : ` from ${min} to ${max}`;
    throw unexpected(`a finite number${range}`, option, value);
  }
  return value;
}

/** Check true or false. */
export function checkBoolean(value: unknown, option: string): boolean {
  if (typeof value !== "boolean") throw unexpected("a boolean", option, value);
  return value;
}

/** Check a non-empty string. */
export function checkString(value: unknown, option: string): string {
  if (typeof value !== "string" || value === "") throw unexpected("a non-empty string", option, value);
  return value;
}

/** Check one of a closed set of strings. */
export function checkOneOf<T extends string>(value: unknown, option: string, known: readonly T[]): T {
  const found = known.find((candidate) => candidate === value);
  if (found === undefined)
    throw unexpected(`one of ${known.map((name) => JSON.stringify(name)).join(", ")}`, option, value);
  return found;
}

/**
 * Check a path: a string, or a `file:` URL of any realm.
 * @returns the path as a string
 * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for anything else, a NUL in it, and a URL that names no local file
 */
export function checkPath(value: unknown, option: string): string {
  const path = isFileUrl(value) ? pathOf(value.href, option) : value;
  if (typeof path !== "string" || path === "")
    throw unexpected("a path (a non-empty string or a file: URL)", option, value);
  if (path.includes("\0")) throw unexpected("a path without a NUL character", option, value);
  return path;
}

function isFileUrl(value: unknown): value is { readonly href: string } {
  try {
    const { href, protocol } = Object(value) as { href?: unknown; protocol?: unknown };
    return typeof value === "object" && typeof href === "string" && protocol === "file:" && href.startsWith("file:");
  } catch {
    return false;
  }
}

function pathOf(href: string, option: string): string {
  try {
    return fileURLToPath(href);
  } catch {
    throw unexpected("a file: URL of a local file", option, href);
  }
}

/** Check an AbortSignal, of any realm, or nothing. */
export function checkSignal(value: unknown, option: string): AbortSignal | undefined {
  if (value === undefined) return undefined;
  if (!isSignal(value)) throw unexpected("an AbortSignal", option, value);
  return value;
}

function isSignal(value: unknown): value is AbortSignal {
  try {
    const { aborted, addEventListener, removeEventListener } = Object(value) as Record<string, unknown>;
    return (
      typeof value === "object" &&
      typeof aborted === "boolean" &&
      typeof addEventListener === "function" &&
      typeof removeEventListener === "function"
    );
  } catch {
    return false;
  }
}

/** Check a function, or nothing. */
export function checkFunction<T>(value: T, option: string): T {
  if (value !== undefined && typeof value !== "function") throw unexpected("a function", option, value);
  return value;
}
