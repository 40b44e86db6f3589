import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { LatentDiffusionError } from "../errors.js";
import { type PendingFile, raiseIo, replaceFiles, writeWhole } from "../files/atomic-file.js";
import {
  checkIsObject,
  decodeUtf8,
  type JsonObject,
  MAX_JSON_BYTES,
  parseJson,
  parseJsonMembers,
} from "../files/json.js";
import { type ConfigClass, DEFAULTED, defaultedKeys } from "./config.js";
import type { Fields } from "./fields.js";
import { spellingOf, wholeNumberTokens, withSpelling } from "./number-spelling.js";
import { readWholeFile } from "../files/read-file.js";
import { stringifyConfig } from "./python-json.js";

export type { JsonObject, JsonValue } from "../files/json.js";

/** The version whose files these are: what a reader in Python may rely on. */
export const DIFFUSERS_VERSION = "0.42.1";

/** The largest config file that is read; real ones have at most some ten thousand bytes, of which most are `trained_betas`. */
const MAX_CONFIG_BYTES = 1_000_000;

/**
 * What diffusers keeps in a config while it runs and never writes; and `_name_or_path`, the folder that it last loaded the
 * file from, which is false of a copy and nobody else's to know.
 */
const TRANSIENT_KEYS: readonly string[] = ["_ignore_files", "_name_or_path", DEFAULTED, "_pre_quantization_dtype"];

/**
 * Read a component's config file, whole, `_class_name` and keys of other classes included; `NaN` and `Infinity` are read as Python does.
 * The result remembers which whole numbers the file wrote as floats.
 * @param fileName `"config.json"` or `"scheduler_config.json"`
 * @param className the `_class_name` that the file may give, or several; a file that gives none gets the first
 * @throws LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND`; `ERR_CHECKPOINT_INVALID` with line and column where it is not JSON;
 *   `ERR_CONFIG_UNSUPPORTED` where it is another class's
 */
export async function readConfig(
  folder: string,
  fileName: string,
  className: string | readonly string[],
): Promise<JsonObject> {
  const path = join(folder, fileName);
  const text = await readText(path, MAX_CONFIG_BYTES);
  const config = parseObject(text, path);
  const expected = typeof className === "string" ? [className] : className;
  const found = config._class_name;
  // diffusers always writes it and never needs it: a config written by hand may lack it.
  if (found !== undefined && (typeof found !== "string" || !expected.includes(found))) {
    throw new LatentDiffusionError(
      "ERR_CONFIG_UNSUPPORTED",
      `${path}: Expected ${expected.map((name) => JSON.stringify(name)).join(" or ")} for _class_name but received ${JSON.stringify(found)}`,
    );
  }
  return withSpelling({ ...config, _class_name: found ?? expected[0] ?? "" }, wholeNumberTokens(text));
}

/**
 * Write a component's config file as diffusers does: sorted keys, two spaces, `_class_name` and `_diffusers_version` set, floats with a
 * point. What a file left out stays left out where Python would read the same value.
 * @param folder is made if it does not exist
 * @param kind the class that the file is for, with the keys whose numbers are floats
 * @throws LatentDiffusionError `ERR_IO`
 * @see diffusers.ConfigMixin.save_config
 */
export async function writeConfig<Keys extends object>(
  folder: string,
  fileName: string,
  kind: ConfigClass<Keys>,
  config: JsonObject,
): Promise<void> {
  await mkdir(folder, { recursive: true }).catch(raiseIo(`Cannot make the folder ${folder}`));
  await replaceFiles([configFile(folder, fileName, kind, config)]);
}

/** What {@link writeConfig} writes, for a caller that has more files to put in place. */
export function configFile<Keys extends object>(
  folder: string,
  fileName: string,
  { className, fields }: ConfigClass<Keys>,
  config: JsonObject,
): PendingFile {
  const byName = fields as Fields<Record<string, unknown>>;
  const unset = config._class_name === undefined ? new Set<string>() : defaultedKeys(config);
  const isLeftOut = (key: string, value: unknown): boolean =>
    TRANSIENT_KEYS.includes(key) || (unset.has(key) && JSON.stringify(value) === JSON.stringify(byName[key]?.fallback));
  const kept = Object.entries(config).filter(([key, value]) => !isLeftOut(key, value));
  const text = stringifyConfig(
    { ...Object.fromEntries(kept), _class_name: className, _diffusers_version: DIFFUSERS_VERSION },
    { isFloat: (key) => byName[key]?.isFloat ?? false, spelling: spellingOf(config) },
  );
  return { path: join(folder, fileName), write: (temporary) => writeWhole(temporary, text) };
}

/**
 * Read a file that must hold one JSON object.
 * @throws LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND`, `ERR_CHECKPOINT_INVALID`, `ERR_IO`
 */
export async function readJsonObject(path: string): Promise<JsonObject> {
  // Member by member: a file of some megabytes would hold the event loop.
  return Object.fromEntries(await parseJsonMembers(await readText(path, MAX_JSON_BYTES), path, { nonFinite: true }));
}

async function readText(path: string, limit: number): Promise<string> {
  return decodeUtf8(await readWholeFile(path, limit), path);
}

function parseObject(text: string, path: string): JsonObject {
  return checkIsObject(parseJson(text, path, { nonFinite: true }), path);
}
