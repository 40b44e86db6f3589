import { mkdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { LatentDiffusionError } from "../errors.js";
import { type PendingFile, raiseIo, replaceFiles, writeWhole } from "../files/atomic-file.js";
import { decodeUtf8, isJsonObject, type JsonObject, MAX_JSON_BYTES, parseJson } from "../files/json.js";
import { stringifyConfig } from "./python-json.js";

export type { JsonObject, JsonValue } from "../files/json.js";

/** The version whose files these are: what a reader in Python may rely on. */
export const DIFFUSERS_VERSION = "0.42.1";

/**
 * What diffusers keeps in a config while it runs and never writes; and `_name_or_path`, the folder that it last loaded the
 * file from, which is false of a copy and nobody else's to know.
 */
const TRANSIENT_KEYS: readonly string[] = [
  "_ignore_files",
  "_name_or_path",
  "_use_default_values",
  "_pre_quantization_dtype",
];

/**
 * Read a component's config file, whole, `_class_name` and keys of other classes included; `NaN` and `Infinity` are read as Python does.
 * @param fileName `"config.json"` or `"scheduler_config.json"`
 * @param className the `_class_name` that the file may give, or several
 * @throws LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND`; `ERR_CHECKPOINT_INVALID` with line and column where it is not JSON;
 *   `ERR_CONFIG_UNSUPPORTED` where it is another class's
 */
export async function readConfig(
  folder: string,
  fileName: string,
  className: string | readonly string[],
): Promise<JsonObject> {
  const path = join(folder, fileName);
  const config = await readJsonObject(path);
  const expected = typeof className === "string" ? [className] : className;
  const found = config._class_name;
  // diffusers writes it always and needs it never: a config written by hand may lack it.
  if (found !== undefined && (typeof found !== "string" || !expected.includes(found))) {
    throw new LatentDiffusionError(
      "ERR_CONFIG_UNSUPPORTED",
      `${path}: Expected ${expected.map((name) => JSON.stringify(name)).join(" or ")} for _class_name but received ${JSON.stringify(found)}`,
    );
  }
  return config;
}

/**
 * Write a component's config file as diffusers does: sorted keys, two spaces, `_class_name` and `_diffusers_version` set.
 * @param folder is made if it does not exist
 * @throws LatentDiffusionError `ERR_IO`
 * @see diffusers.ConfigMixin.save_config
 */
export async function writeConfig(
  folder: string,
  fileName: string,
  className: string,
  config: JsonObject,
): Promise<void> {
  await mkdir(folder, { recursive: true }).catch(raiseIo(`Cannot make the folder ${folder}`));
  await replaceFiles([configFile(folder, fileName, className, config)]);
}

/** What {@link writeConfig} writes, for a caller that has more files to put in place. */
export function configFile(folder: string, fileName: string, className: string, config: JsonObject): PendingFile {
  const kept = Object.entries(config).filter(([key]) => !TRANSIENT_KEYS.includes(key));
  const text = stringifyConfig({
    ...Object.fromEntries(kept),
    _class_name: className,
    _diffusers_version: DIFFUSERS_VERSION,
  });
  return { path: join(folder, fileName), write: (temporary) => writeWhole(temporary, text) };
}

/**
 * Read a file that must hold one JSON object.
 * @throws LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND`, `ERR_CHECKPOINT_INVALID`, `ERR_IO`
 */
export async function readJsonObject(path: string): Promise<JsonObject> {
  let bytes: Uint8Array;
  try {
    const { size } = await stat(path);
    if (size > MAX_JSON_BYTES)
      throw new LatentDiffusionError(
        "ERR_CHECKPOINT_INVALID",
        `${path}: ${size} bytes, above the bound of ${MAX_JSON_BYTES}`,
      );
    bytes = await readFile(path);
  } catch (cause) {
    if (cause instanceof LatentDiffusionError) throw cause;
    const code = (cause as NodeJS.ErrnoException).code;
    if (code !== "ENOENT" && code !== "ENOTDIR") return raiseIo(`Cannot read ${path}`)(cause);
    throw new LatentDiffusionError("ERR_CHECKPOINT_NOT_FOUND", `${path} does not exist`, { cause });
  }
  const json = parseJson(decodeUtf8(bytes, path), path, { nonFinite: true });
  if (!isJsonObject(json))
    throw new LatentDiffusionError(
      "ERR_CHECKPOINT_INVALID",
      `${path}: Expected a JSON object but received ${Array.isArray(json) ? "an array" : JSON.stringify(json)}`,
    );
  return json;
}
