import { isUtf8 } from "node:buffer";
import { setImmediate } from "node:timers/promises";
import { LatentDiffusionError } from "../errors.js";
import { JsonScanner, MAX_DEPTH, type Member } from "./json-scanner.js";
import { checkArray, checkPlainObject, isArray, shorten, unexpected } from "../validate.js";

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;

/** What a JSON object becomes: own properties only, so `__proto__` is a key like any other. */
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

/** The most that a JSON file, or one value in it, may take: `JSON.parse` takes some hundredths of a second for it, on the event loop. */
export const MAX_JSON_BYTES = 5_000_000;

/** The event loop waits for no longer than about this between two turns. */
const STEP_MILLISECONDS = 5;

/** How JSON is read. */
export interface JsonOptions {
  /** Take Python's `NaN`, `Infinity` and `-Infinity`; default false. */
  readonly nonFinite?: boolean;
}

/**
 * Parse JSON strictly. Unlike `JSON.parse` it refuses a key that appears twice in one object (Python would take the last one,
 * other readers the first), integers that a number cannot hold, lone surrogates and deep nesting; and it reads Python's
 * `NaN`, `Infinity` and `-Infinity` where they are allowed.
 * @param where what is read, for the message: the file's path
 * @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID` naming `where`, line and column
 */
export function parseJson(text: string, where: string, { nonFinite = false }: JsonOptions = {}): JsonValue {
  const object: Record<string, JsonValue> = {};
  for (const member of new JsonScanner(text, where, nonFinite).members()) {
    if (member?.key === null) return buildWhole(text, member);
    if (member) define(object, member.key, buildMember(text, member));
  }
  return object;
}

/**
 * As {@link parseJson}, for an object of any size: the event loop is not held for more than some hundredths of a second at a time.
 * @returns the object's members, in the order of the text
 * @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID`, also where it is no object or one member takes more than 5 MB
 */
export async function parseJsonMembers(
  text: string,
  where: string,
  { nonFinite = false }: JsonOptions = {},
): Promise<Map<string, JsonValue>> {
  const members = new Map<string, JsonValue>();
  const scanner = new JsonScanner(text, where, nonFinite);
  await inSteps(scanner.members(), (member) => {
    if (!member) return;
    if (member.end - member.begin > MAX_JSON_BYTES)
      scanner.fail(`a value of ${member.end - member.begin} bytes, above the bound of ${MAX_JSON_BYTES}`, member.begin);
    if (member.key !== null) members.set(member.key, buildMember(text, member));
    else checkIsObject(buildWhole(text, member), where);
  });
  return members;
}

/** @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID` for another value */
export function checkIsObject(value: JsonValue, where: string): JsonObject {
  if (isJsonObject(value)) return value;
  throw new LatentDiffusionError(
    "ERR_CHECKPOINT_INVALID",
    `${where}: Expected a JSON object but received ${Array.isArray(value) ? "an array" : shorten(JSON.stringify(value))}`,
  );
}

/** Do something for each item, and let the event loop turn between two of them where it took long. */
export async function inSteps<T>(items: Iterable<T>, visit: (item: T) => void): Promise<void> {
  let count = 0;
  let since = performance.now();
  for (const item of items) {
    visit(item);
    if ((++count & 15) !== 0 || performance.now() - since < STEP_MILLISECONDS) continue;
    await setImmediate();
    since = performance.now();
  }
}

/** The value of a member of the outermost object. */
function buildMember(text: string, member: Member): JsonValue {
  return build(text, member, 1);
}

/** The value of a text that is no object, or an empty one. */
function buildWhole(text: string, member: Member): JsonValue {
  return build(text, member, 0);
}

/** @param depth how much of the paths lies outside of the value */
function build(text: string, { begin, end, nonFinite }: Member, depth: number): JsonValue {
  let source = "";
  let at = begin;
  for (const word of nonFinite) {
    source += `${text.slice(at, word.begin)}null`;
    at = word.end;
  }
  const holder: JsonValue[] = [JSON.parse(source + text.slice(at, end)) as JsonValue];
  for (const { path, value } of nonFinite) {
    const way = [0, ...path.slice(depth)];
    const last = way.pop() ?? 0;
    const place = way.reduce<unknown>((outer, key) => (outer as Record<string, unknown>)[key], holder);
    define(place as object, last, value);
  }
  return holder[0] ?? null;
}

/** Assigning to a key named `__proto__` would change the object's prototype. */
function define(object: object, key: string | number, value: JsonValue): void {
  Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
}

/** Decode bytes that must be UTF-8; a hundred megabytes take some hundredths of a second. */
export function decodeUtf8(bytes: Uint8Array, where: string): string {
  if (!isUtf8(bytes)) throw new LatentDiffusionError("ERR_CHECKPOINT_INVALID", `${where}: not valid UTF-8`);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
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
  if (isArray(value))
    return checkArray(value, "an array", where, (item, i) => copyJson(item, `${where}[${i}]`, depth + 1));
  const copy = {};
  for (const [key, item] of Object.entries(checkPlainObject(value, "a JSON value", where)))
    define(copy, key, copyJson(item, `${where}.${shorten(key)}`, depth + 1));
  return copy;
}
