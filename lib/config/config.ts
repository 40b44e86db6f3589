import { InvalidArgumentError, LatentDiffusionError } from "../errors.js";
import { copyJson, type JsonObject, type JsonValue } from "../files/json.js";
import { checkPlainObject, isArray, quote, shorten, suggest } from "../validate.js";
import { type Fields, unsupported } from "./fields.js";
import { isFloatToken, pathOf, type Spelling, spellingOf, withSpelling } from "./number-spelling.js";

/** A checked config: every key of the class, and what else a file holds. Frozen, as deep as it goes. */
export type Config<Keys> = Readonly<Keys> & JsonObject;

/** The keys that nobody set, as diffusers notes them: another class fills them with its own defaults. */
export const DEFAULTED = "_use_default_values";

/** The most keys of other classes. diffusers' schedulers have a hundred between them. */
const MAX_FOREIGN_KEYS = 1000;

/** A class's name and keys. */
export interface ConfigClass<Keys> {
  readonly className: string;
  readonly fields: Fields<Keys>;
  /** Values for keys that a file leaves out, where they differ from diffusers' defaults. */
  readonly absentInFile?: Partial<Keys>;
}

/** A config that is complete, on its way to a constructor: there it needs no second check, and may hold keys of other classes. */
export class CheckedConfig<Keys extends object> {
  readonly #isChecked = true;

  constructor(readonly config: Config<Keys>) {}

  /** Without `instanceof`, which throws for a revoked proxy. */
  static is<Keys extends object>(value: object | CheckedConfig<Keys>): value is CheckedConfig<Keys> {
    return typeof value === "object" && value !== null && #isChecked in value;
  }
}

/**
 * Check a literal: an unknown key is an error. Keys that begin with `_` are a file's notes; they are kept, as Python's `**config` takes
 * them.
 * @returns the class's keys, with diffusers' defaults for those that are left out
 * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` naming the unknown key and the nearest known one
 * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming key and value
 */
export function completeLiteral<Keys extends object>(kind: ConfigClass<Keys>, literal: object): Config<Keys> {
  const given = checkObject(literal, kind.className);
  checkKeys(kind, given);
  // Which keys were never set does not hold for a literal that sets them.
  return complete(kind, { ...given, [DEFAULTED]: null }, spellingOf(literal));
}

/** Check what a constructor takes: a literal, or a config that {@link completeForeign} has checked. */
export function completeGiven<Keys extends object>(
  kind: ConfigClass<Keys>,
  given: object | CheckedConfig<Keys>,
): Config<Keys> {
  return CheckedConfig.is(given) ? given.config : completeLiteral(kind, given);
}

/**
 * Check what a file or another class's config holds: keys of other classes are kept. Keys that the other class had never set count as
 * absent.
 * @param overrides values to take instead, as a literal
 * @throws as {@link completeLiteral}, for unknown keys of `overrides` only
 * @see diffusers.ConfigMixin.from_config
 */
export function completeForeign<Keys extends object>(
  kind: ConfigClass<Keys>,
  config: object,
  overrides: object = {},
): Config<Keys> {
  const given = checkObject(config, kind.className);
  const literal = checkObject(overrides, kind.className);
  checkKeys(kind, literal);
  const unset = defaultedKeys(given);
  const kept = Object.fromEntries(Object.entries(given).filter(([key]) => !unset.has(key)));
  return complete(kind, { ...kept, ...literal }, spellingOf(config));
}

/**
 * Check a network's config: a literal, or what a file holds, which names its class.
 * @throws as {@link completeLiteral}
 */
export function completeNetwork<Keys extends object>(kind: ConfigClass<Keys>, config: object): Config<Keys> {
  const given = checkObject(config, kind.className);
  if (given._class_name === undefined) return completeLiteral(kind, config);
  if (given._class_name !== kind.className)
    throw unsupported("_class_name", JSON.stringify(kind.className), given._class_name);
  // One class only: a key that still has its default is unset, whoever copied the config.
  const kept = Object.entries(given).filter(
    ([key, value]) => !defaultedKeys(given).has(key) || !isDefault(kind, key, value),
  );
  return complete(kind, Object.fromEntries(kept), spellingOf(config));
}

/** The keys that a config notes as never set. */
export function defaultedKeys(config: JsonObject): ReadonlySet<string> {
  const noted = config[DEFAULTED];
  return new Set(isArray(noted) ? noted.filter((key) => typeof key === "string") : []);
}

function isDefault<Keys>({ fields, absentInFile = {} }: ConfigClass<Keys>, key: string, value: unknown): boolean {
  const inFile = (absentInFile as Readonly<Record<string, unknown>>)[key];
  const fallback = (fields as Fields<Record<string, unknown>>)[key]?.fallback;
  return JSON.stringify(value) === JSON.stringify(inFile ?? fallback);
}

function checkKeys<Keys>({ className, fields }: ConfigClass<Keys>, given: JsonObject): void {
  const known = Object.keys(fields);
  for (const key of Object.keys(given)) {
    if (known.includes(key) || key.startsWith("_")) continue;
    const isCopy = given._class_name !== undefined;
    const advice = isCopy ? `; ${className}.fromConfig keeps keys of other classes` : suggest(key, known);
    throw new InvalidArgumentError(`Unknown key ${quote(key)} for the config of ${className}${advice}`);
  }
}

function complete<Keys extends object>(kind: ConfigClass<Keys>, given: JsonObject, spelled: Spelling): Config<Keys> {
  const { className, fields } = kind;
  const absentInFile: Partial<Keys> = kind.absentInFile ?? {};
  const isFile = given._class_name !== undefined;
  const known = Object.keys(fields) as (keyof Keys & string)[];
  const config: Record<string, JsonValue> = {};
  const foreign = Object.keys(given).filter((key) => !Object.hasOwn(fields, key) && key !== DEFAULTED);
  if (foreign.length > MAX_FOREIGN_KEYS)
    throw new LatentDiffusionError(
      "ERR_CONFIG_UNSUPPORTED",
      `Expected at most ${MAX_FOREIGN_KEYS} keys of other classes for the config of ${className} but received ${foreign.length}`,
    );
  for (const key of foreign)
    define(config, key, key === "_class_name" ? className : copyJson(given[key], shorten(key)));
  for (const key of known) {
    const inFile = isFile ? absentInFile[key] : undefined;
    const value = given[key] === undefined ? (inFile ?? fields[key].fallback) : fields[key].check(given[key], key);
    define(config, key, value as JsonValue);
  }
  const unset = known.filter((key) => given[key] === undefined);
  if (unset.length > 0) define(config, DEFAULTED, unset);
  return deepFreeze(withSpelling(config, neededSpelling(fields, spelled))) as Config<Keys>;
}

/** Keep a spelling only where it is not the one that the field's type gives. */
function neededSpelling<Keys>(fields: Fields<Keys>, spelled: Spelling): Spelling {
  const floats = Object.entries<{ isFloat: boolean }>(fields).filter(([, field]) => field.isFloat);
  const paths = floats.map(([key]) => pathOf("", key));
  const isFloat = (path: string): boolean => paths.some((own) => path === own || path.startsWith(`${own}/`));
  return Object.freeze(
    Object.fromEntries(Object.entries(spelled).filter(([path, token]) => isFloatToken(token) !== isFloat(path))),
  );
}

function checkObject(value: unknown, className: string): JsonObject {
  return checkPlainObject(value, "a config object", className) as JsonObject;
}

/** Assigning to a foreign key named `__proto__` would change the prototype. */
function define(target: object, key: string, value: JsonValue): void {
  Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}
