import { InvalidArgumentError, LatentDiffusionError } from "../../errors.js";
import { copyJson, type JsonObject, type JsonValue } from "../../files/json.js";
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOneOf,
  checkPlainObject,
  suggest,
  unexpected,
} from "../../validate.js";

/** diffusers' default of one key, and the check that turns what a file holds into the key's value. */
export type ConfigField<T> = readonly [fallback: T, check: (value: unknown, key: string) => T];

/** All keys of a scheduler's config. */
export type ConfigFields<Keys> = { readonly [Key in keyof Keys]: ConfigField<Keys[Key]> };

/** A checked config: every key of the class, and whatever else a file held. Frozen, as deep as it goes. */
export type SchedulerConfig<Keys> = Readonly<Keys> & JsonObject;

/** The file of a scheduler's folder. */
export const SCHEDULER_FILE = "scheduler_config.json";

/** The note of which keys were never set, so that another class fills them with its own defaults. */
const DEFAULTED = "_use_default_values";

/** The schedulers whose files a DDIM-like scheduler may take over, as diffusers' `DDIMScheduler.compatibles`. */
export const COMPATIBLE_CLASSES: readonly string[] = [
  "DDIMScheduler",
  "DDPMScheduler",
  "DEISMultistepScheduler",
  "DPMSolverMultistepScheduler",
  "DPMSolverSDEScheduler",
  "DPMSolverSinglestepScheduler",
  "EDMEulerScheduler",
  "EulerAncestralDiscreteScheduler",
  "EulerDiscreteScheduler",
  "HeunDiscreteScheduler",
  "KDPM2AncestralDiscreteScheduler",
  "KDPM2DiscreteScheduler",
  "LMSDiscreteScheduler",
  "PNDMScheduler",
  "UniPCMultistepScheduler",
];

/**
 * Check a config that was written as a literal, or of another's keys: what begins with `_` is a file's note and kept, as Python's
 * `**config` takes it.
 * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` naming an unknown key and the nearest known one
 * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming key and value
 */
export function completeLiteral<Keys extends object>(
  className: string,
  fields: ConfigFields<Keys>,
  literal: object,
): SchedulerConfig<Keys> {
  const given = checkObject(literal, className);
  const known = Object.keys(fields);
  // Which keys were never set is not true of a literal that sets them.
  const notes = Object.entries(given).filter(([key]) => key.startsWith("_") && key !== DEFAULTED);
  for (const key of Object.keys(given)) {
    if (known.includes(key) || key.startsWith("_")) continue;
    const advice = notes.length > 0 ? `; ${className}.fromConfig keeps keys of other classes` : suggest(key, known);
    throw new InvalidArgumentError(`Unknown key ${JSON.stringify(key)} for the config of ${className}${advice}`);
  }
  return complete(fields, given, ownedBy(className, notes), className);
}

/** What is kept of a config beside the class's own keys, as a config of the class. */
function ownedBy(className: string, entries: readonly (readonly [string, JsonValue])[]): JsonObject {
  return Object.fromEntries(entries.map(([key, value]) => [key, key === "_class_name" ? className : value]));
}

/**
 * Check a config that a file or another scheduler gives: keys of other classes are kept, and keys that its scheduler had never
 * set count as absent.
 * @param overrides values to take instead, as a literal
 * @see diffusers.ConfigMixin.from_config
 */
export function completeForeign<Keys extends object>(
  className: string,
  fields: ConfigFields<Keys>,
  config: object,
  overrides: object = {},
): SchedulerConfig<Keys> {
  const { [DEFAULTED]: defaulted, ...given } = checkObject(config, className);
  const literal = checkObject(overrides, className);
  const unset = Array.isArray(defaulted) ? (defaulted as readonly JsonValue[]) : [];
  const kept = Object.entries(given).filter(([key]) => !unset.includes(key));
  // For the complaint about a key that the class does not know.
  completeLiteral(className, fields, literal);
  const foreign = kept.filter(([key]) => !Object.hasOwn(fields, key));
  return complete(fields, { ...Object.fromEntries(kept), ...literal }, ownedBy(className, foreign), className);
}

function complete<Keys extends object>(
  fields: ConfigFields<Keys>,
  given: JsonObject,
  foreign: JsonObject,
  className: string,
): SchedulerConfig<Keys> {
  const values = Object.entries<ConfigField<unknown>>(fields).map(([key, [fallback, check]]): [string, JsonValue] => {
    const value = given[key];
    return [key, (value === undefined ? fallback : checkField(className, key, value, check)) as JsonValue];
  });
  const unset = values.map(([key]) => key).filter((key) => given[key] === undefined);
  const note: JsonObject = unset.length > 0 ? { [DEFAULTED]: unset } : {};
  const config: JsonObject = { ...structuredClone(foreign), ...Object.fromEntries(values), ...note };
  return freeze(config) as SchedulerConfig<Keys>;
}

function checkField<T>(className: string, key: string, value: unknown, check: (value: unknown, key: string) => T): T {
  try {
    return check(value, key);
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    throw new LatentDiffusionError("ERR_CONFIG_UNSUPPORTED", `${error.message} (config of ${className})`);
  }
}

function checkObject(value: object, className: string): JsonObject {
  return copyJson(checkPlainObject(value, "a config object", className), "config") as JsonObject;
}

function freeze<T>(value: T): T {
  if (typeof value !== "object" || value === null) return value;
  Object.values(value).forEach(freeze);
  return Object.freeze(value);
}

/** True or false. */
export function flag(fallback: boolean): ConfigField<boolean> {
  return [fallback, checkBoolean];
}

/** A whole number of at least `min`. */
export function integer(fallback: number, min: number): ConfigField<number> {
  return [fallback, (value, key) => checkInteger(value, key, min)];
}

/** A finite number within `[min, max]`. */
export function number(fallback: number, min = -Infinity, max = Infinity): ConfigField<number> {
  return [fallback, (value, key) => checkNumber(value, key, min, max)];
}

/** A finite number above 0. */
export function positive(fallback: number): ConfigField<number> {
  return [
    fallback,
    (value, key) => {
      if (typeof value !== "number" || !Number.isFinite(value) || value <= 0)
        throw unexpected("a finite number above 0", key, value);
      return value;
    },
  ];
}

/** One of a closed set of strings, the first by default. */
export function oneOf<T extends string>(...known: readonly [T, ...T[]]): ConfigField<T> {
  return [known[0], (value, key) => checkOneOf(value, key, known)];
}

/** A list of numbers within `[min, max]`, or null, the default. */
export function numbersOrNull(min: number, max: number): ConfigField<readonly number[] | null> {
  return [
    null,
    (value, key) => {
      if (value === null) return null;
      if (!Array.isArray(value) || value.length === 0) throw unexpected("an array of numbers, or null,", key, value);
      return value.map((item, i) => checkNumber(item, `${key}[${i}]`, min, max));
    },
  ];
}
