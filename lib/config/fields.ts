import { LatentDiffusionError } from "../errors.js";
import { describe, isArray } from "../validate.js";

/** One key of a class's config: diffusers' default, Python's type, and the check of a value. */
export interface Field<T> {
  readonly fallback: T;
  /** Whether Python holds a float here: a whole number is then written as `1.0`. */
  readonly isFloat: boolean;
  /** Return the value, a copy where it is a list; throw for what this package does not run. */
  readonly check: (value: unknown, key: string) => T;
}

/** All keys of a class's config. */
export type Fields<Keys> = { readonly [Key in keyof Keys]: Field<Keys[Key]> };

/** The range of a number, both ends included, unless it says otherwise. */
export interface Bounds {
  readonly min?: number;
  readonly max?: number;
  /** The number must be larger than this. */
  readonly above?: number;
  /** Whether 0 is refused. */
  readonly nonZero?: boolean;
}

/**
 * The most channels, groups and sizes of an embedding. Published networks stay below 4,096; a convolution between two layers of
 * this many weighs 9.7 GB in float32.
 */
export const MAX_CHANNELS = 16_384;

/** The most levels of a network. Each one halves height and width; published networks have at most 7. */
export const MAX_LEVELS = 16;

/** The most layers per block. Published networks have at most 8; this many times {@link MAX_LEVELS} is composed in half a second. */
export const MAX_LAYERS = 64;

/** The most training timesteps. Published models have at most 4,000; a table of this many is made in a few milliseconds. */
export const MAX_TRAIN_TIMESTEPS = 100_000;

/** The most entries of a table of classes or codes. Published codebooks have at most 2^18. */
export const MAX_EMBEDDINGS = 2 ** 24;

/** Build the error for a value that this package does not run: what was expected, for which key, what came. */
export function unsupported(key: string, expected: string, value: unknown): LatentDiffusionError {
  return new LatentDiffusionError(
    "ERR_CONFIG_UNSUPPORTED",
    `Expected ${expected} for ${key} but received ${describeJson(value)}`,
  );
}

function describeJson(value: unknown): string {
  if (!isArray(value) || value.length > 20) return describe(value);
  return `[${value.map((item) => (typeof item === "string" ? JSON.stringify(item.slice(0, 60)) : describe(item).replace(/ of type number$/, ""))).join(", ")}]`;
}

/** A whole number, at least 1 unless `min` is given. */
export function integer(fallback: number, { min = 1, max = Number.MAX_SAFE_INTEGER }: Bounds = {}): Field<number> {
  const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
  return {
    fallback,
    isFloat: false,
    check: (value, key) => {
      if (typeof value === "number" && Number.isSafeInteger(value) && value >= min && value <= max) return value;
      throw unsupported(key, `an integer ${range}`, value);
    },
  };
}

/** A finite number that Python holds as a float. */
export function float(fallback: number, bounds: Bounds = {}): Field<number> {
  return { ...number(fallback, bounds), isFloat: true };
}

/** A finite number whose default is an int in Python, whatever its annotation says. */
export function number(fallback: number, bounds: Bounds = {}): Field<number> {
  const { min = -Infinity, max = Infinity, above = -Infinity, nonZero = false } = bounds;
  return {
    fallback,
    isFloat: false,
    check: (value, key) => {
      const fits = typeof value === "number" && Number.isFinite(value) && value >= min && value <= max;
      if (fits && value > above && !(nonZero && value === 0)) return value;
      throw unsupported(key, `a finite number${describeBounds(bounds)}`, value);
    },
  };
}

function describeBounds({ min, max, above, nonZero = false }: Bounds): string {
  if (nonZero) return " other than 0";
  if (above !== undefined) return ` above ${above}`;
  if (min !== undefined && max !== undefined) return ` from ${min} to ${max}`;
  if (min !== undefined) return ` of at least ${min}`;
  return max === undefined ? "" : ` of at most ${max}`;
}

/** True or false. */
export function boolean(fallback: boolean): Field<boolean> {
  return {
    fallback,
    isFloat: false,
    check: (value, key) => {
      if (typeof value === "boolean") return value;
      throw unsupported(key, "true or false", value);
    },
  };
}

/** One of a closed set of values. */
export function oneOf<const T extends string | number>(fallback: NoInfer<T>, known: readonly T[]): Field<T> {
  return {
    fallback,
    isFloat: false,
    check: (value, key) => {
      const found = known.find((candidate) => candidate === value);
      if (found !== undefined) return found;
      throw unsupported(key, `one of ${known.map((candidate) => JSON.stringify(candidate)).join(", ")}`, value);
    },
  };
}

/** A field that takes other classes' names for its values. */
export function renamed<T>(field: Field<T>, names: Readonly<Record<string, T>>): Field<T> {
  return {
    ...field,
    check: (value, key) =>
      typeof value === "string" && Object.hasOwn(names, value) ? (names[value] as T) : field.check(value, key),
  };
}

/** A key with one value that is run. */
export function only<T extends false | null>(fallback: T): Field<T> {
  return {
    fallback,
    isFloat: false,
    check: (value, key) => {
      if (value === fallback) return fallback;
      throw unsupported(key, String(fallback), value);
    },
  };
}

/** What a field takes, or null, which is the default unless another is given. */
export function nullable<T>(field: Field<T>, fallback: T | null = null): Field<T | null> {
  return { ...field, fallback, check: (value, key) => (value === null ? null : field.check(value, key)) };
}

/** A list of 1 to `max` of what a field takes. */
export function listOf<T>(fallback: readonly T[], item: Field<T>, max: number): Field<readonly T[]> {
  return {
    fallback,
    isFloat: item.isFloat,
    check: (value, key) => {
      if (!isArray(value) || value.length === 0) throw unsupported(key, "a list", value);
      if (value.length > max) throw unsupported(key, `a list of at most ${max}`, value);
      return value.map((element: unknown, i) => item.check(element, `${key}[${i}]`));
    },
  };
}

/** The size of a picture: one number, or height and width. It changes nothing in a network. */
export const sampleSize: Field<number | readonly number[]> = {
  fallback: 32,
  isFloat: false,
  check: (value, key) => {
    const sizes: readonly unknown[] = isArray(value) ? value : [value];
    const fits = sizes.length === (isArray(value) ? 2 : 1) && sizes.every(isSize);
    if (!fits) throw unsupported(key, "an integer of at least 1, or two of them", value);
    return isArray(value) ? sizes.filter(isSize) : Number(value);
  },
};

function isSize(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 1;
}
