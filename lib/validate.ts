import { InvalidArgumentError } from "./errors.js";

/** Name a received value with its type, short enough for an error message. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === "string")
    return `${JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}...` : value)} of type string`;
  if (typeof value === "function") return `function ${value.name || "(anonymous)"}`;
  if (Array.isArray(value)) return `an array of length ${value.length}`;
  if (typeof value === "object") return `an instance of ${value.constructor?.name ?? "Object"}`;
  return `${String(value)} of type ${typeof value}`;
}

/** Build the one form of message that every check here uses: what was expected, for which option, what came. */
export function unexpected(expected: string, option: string, value: unknown): InvalidArgumentError {
  return new InvalidArgumentError(`Expected ${expected} for ${option} but received ${describe(value)}`);
}

/**
 * Check an options object against the names it may have.
 * @returns the object itself, `{}` for undefined
 * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` naming the unknown option and the nearest known one
 */
export function checkOptions<T extends object>(
  options: T | undefined,
  known: readonly string[],
  where: string,
): Partial<T> {
  if (options === undefined) return {};
  if (options === null || typeof options !== "object" || Array.isArray(options)) {
    throw unexpected("an options object", where, options);
  }
  for (const name of Object.keys(options)) {
    if (!known.includes(name))
      throw new InvalidArgumentError(`Unknown option ${JSON.stringify(name)} for ${where}${suggest(name, known)}`);
  }
  return options;
}

/** A clause with the nearest known name, or with all names where none is near. */
export function suggest(name: string, known: readonly string[]): string {
  let nearest = "";
  let best = Infinity;
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < best) [nearest, best] = [candidate, distance];
  }
  if (best <= Math.max(2, Math.floor(name.length / 2))) return `; did you mean ${JSON.stringify(nearest)}?`;
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

/** Check an AbortSignal, or nothing. */
export function checkSignal(value: unknown, option: string): AbortSignal | undefined {
  if (value !== undefined && !(value instanceof AbortSignal)) throw unexpected("an AbortSignal", option, value);
  return value;
}

/** Check a function, or nothing. */
export function checkFunction<T>(value: T, option: string): T {
  if (value !== undefined && typeof value !== "function") throw unexpected("a function", option, value);
  return value;
}
