import { InvalidArgumentError, LatentDiffusionError } from "../errors.js";
import { copyJson, type JsonObject, type JsonValue } from "../files/json.js";
import { checkPlainObject, describe, suggest } from "../validate.js";

/** One key of a class's config: diffusers' default, and the check that makes a value of JSON one of the key. */
export interface Field<T> {
  readonly fallback: T;
  readonly check: (value: unknown, key: string) => T;
}

/** All keys of a class's config. */
export type Fields<Keys> = { readonly [Key in keyof Keys]: Field<Keys[Key]> };

/** A checked config: every key of the class, and what else a file holds. Frozen, as deep as it goes. */
export type Config<Keys> = Keys & JsonObject;

/** How {@link completeConfig} reads a config. */
export interface Reading<Keys> {
  /** Whether it is known to come from a file; else a `_class_name` tells. */
  readonly fromFile?: boolean;
  /** Values for keys that a file leaves out, where they are not diffusers' defaults. */
  readonly absentInFile?: Partial<Keys>;
}

/** Configs that came out of {@link completeConfig}: they may go in again, whatever foreign keys their file had. */
const COMPLETE = new WeakSet<object>();

/** Build the error for a value that this package does not run: what was expected, for which key, what came. */
export function unsupported(key: string, expected: string, value: unknown): LatentDiffusionError {
  return new LatentDiffusionError(
    "ERR_CONFIG_UNSUPPORTED",
    `Expected ${expected} for ${key} but received ${describeJson(value)}`,
  );
}

function describeJson(value: unknown): string {
  if (!Array.isArray(value)) return describe(value);
  const text = JSON.stringify(value);
  return text.length > 200 ? describe(value) : text;
}

/**
 * Check a config and fill in the keys that it leaves out.
 * @param config a literal, where an unknown key is an error; or what a file holds, where keys of other classes are kept
 * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` naming the unknown key and the nearest known one
 * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming key and value
 */
export function completeConfig<Keys extends object>(
  className: string,
  fields: Fields<Keys>,
  config: object,
  { fromFile: isFile = false, absentInFile = {} }: Reading<Keys> = {},
): Config<Keys> {
  const given = checkPlainObject(config, "a config object", className);
  const known = Object.keys(fields);
  const fromFile = isFile || COMPLETE.has(config) || given._class_name !== undefined;
  if (given._class_name !== undefined && given._class_name !== className)
    throw unsupported("_class_name", JSON.stringify(className), given._class_name);
  const complete: Record<string, JsonValue> = {};
  for (const key of Object.keys(given)) {
    if (known.includes(key)) continue;
    if (!fromFile)
      throw new InvalidArgumentError(
        `Unknown key ${JSON.stringify(key)} for the config of ${className}${suggest(key, known)}`,
      );
    define(complete, key, copyJson(given[key], key));
  }
  for (const key of known as (keyof Keys & string)[]) {
    const field = fields[key];
    const value =
      given[key] === undefined
        ? ((fromFile ? absentInFile[key] : undefined) ?? field.fallback)
        : field.check(given[key], key);
    define(complete, key, value);
  }
  COMPLETE.add(complete);
  return deepFreeze(complete) as Config<Keys>;
}

/** Assigning to a foreign key named `__proto__` would change the prototype. */
function define(target: object, key: string, value: unknown): void {
  Object.defineProperty(target, key, { value, enumerable: true });
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null) return value;
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}

/** A whole number of at least `min`. */
export function integer(fallback: number, min = 1): Field<number> {
  return {
    fallback,
    check: (value, key) => {
      if (typeof value === "number" && Number.isSafeInteger(value) && value >= min) return value;
      throw unsupported(key, `an integer of at least ${min}`, value);
    },
  };
}

/** A finite number that `accept` takes. */
export function number(
  fallback: number,
  expected = "a finite number",
  accept: (value: number) => boolean = () => true,
): Field<number> {
  return {
    fallback,
    check: (value, key) => {
      if (typeof value === "number" && Number.isFinite(value) && accept(value)) return value;
      throw unsupported(key, expected, value);
    },
  };
}

/** True or false. */
export function flag(fallback: boolean): Field<boolean> {
  return {
    fallback,
    check: (value, key) => {
      if (typeof value === "boolean") return value;
      throw unsupported(key, "true or false", value);
    },
  };
}

/** One of a closed set of values. */
export function oneOf<T extends string | number>(fallback: T, known: readonly T[]): Field<T> {
  return {
    fallback,
    check: (value, key) => {
      const found = known.find((candidate) => candidate === value);
      if (found !== undefined) return found;
      throw unsupported(key, `one of ${known.map((candidate) => JSON.stringify(candidate)).join(", ")}`, value);
    },
  };
}

/** What a field takes, or null, which is the default unless another is given. */
export function nullable<T>(field: Field<T>, fallback: T | null = null): Field<T | null> {
  return { fallback, check: (value, key) => (value === null ? null : field.check(value, key)) };
}

/** A list of at least one of what a field takes. */
export function listOf<T>(fallback: readonly T[], item: Field<T>): Field<readonly T[]> {
  return {
    fallback,
    check: (value, key) => {
      if (!Array.isArray(value) || value.length === 0) throw unsupported(key, "a list", value);
      return value.map((element: unknown, i) => item.check(element, `${key}[${i}]`));
    },
  };
}

/** The size of a picture: one number, or height and width. It changes nothing in a network. */
export const sampleSize: Field<number | readonly number[]> = {
  fallback: 32,
  check: (value, key) => {
    const sizes: unknown[] = Array.isArray(value) ? value : [value];
    if (
      sizes.length > 2 ||
      (Array.isArray(value) && sizes.length !== 2) ||
      !sizes.every((size) => Number.isSafeInteger(size) && Number(size) >= 1)
    ) {
      throw unsupported(key, "an integer of at least 1, or two of them", value);
    }
    return Array.isArray(value) ? (sizes as number[]).slice() : (value as number);
  },
};
