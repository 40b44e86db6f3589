import { rm } from "node:fs/promises";
import { join } from "node:path";
import { LatentDiffusionError } from "../errors.js";
import { raiseIo } from "../files/atomic-file.js";
import {
  DIFFUSERS_VERSION,
  type JsonObject,
  type JsonValue,
  readJsonObject,
  writeConfig,
} from "../config/config-file.js";

/** The file that makes a folder a pipeline's. */
export const INDEX_FILE = "model_index.json";
const CLASS_NAME = "LDMPipeline";
/** Its name in the first releases of diffusers; same parts, same work. */
const OLD_CLASS_NAME = "LatentDiffusionUncondPipeline";

/** A component's name, which is that of its folder. */
export type ComponentName = "vqvae" | "unet" | "scheduler";

export const COMPONENT_NAMES: readonly ComponentName[] = ["vqvae", "unet", "scheduler"];

/** The class of each component, `"DDIMScheduler"`; null where the file says `[null, null]`: the caller must bring that component. */
export type ModelIndex = Readonly<Record<ComponentName, string | null>>;

/**
 * Read a pipeline folder's `model_index.json`.
 * @throws LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND`; `ERR_CHECKPOINT_INVALID` where it is not such a file;
 *   `ERR_CONFIG_UNSUPPORTED` for another pipeline, a part more, or a part from another library than diffusers
 * @see diffusers.DiffusionPipeline.from_pretrained
 */
export async function readModelIndex(folder: string): Promise<ModelIndex> {
  const path = join(folder, INDEX_FILE);
  const { _class_name: className, ...rest } = await readJsonObject(path);
  if (className === undefined) throw invalid(path, "it has no _class_name");
  if (className !== CLASS_NAME && className !== OLD_CLASS_NAME) {
    throw unsupported(
      path,
      `Expected ${JSON.stringify(CLASS_NAME)} for _class_name but received ${JSON.stringify(className)}`,
    );
  }
  // Keys with an underscore are diffusers' notes about the file, not parts; nor is what is no list: an argument of the pipeline's
  // constructor such as `"requires_safety_checker": false`, which diffusers passes over where the class has no such argument.
  const parts = new Map(
    Object.entries(rest)
      .filter(([key, value]) => !key.startsWith("_") && (isComponent(key) || isJsonList(value)))
      .map(([key, value]) => [key, parsePart(path, key, value)]),
  );
  const extra = [...parts].find(([key, part]) => part !== null && !isComponent(key));
  if (extra)
    throw unsupported(
      path,
      `Expected the parts ${COMPONENT_NAMES.join(", ")} but received ${JSON.stringify(extra[0])} besides`,
    );
  const part = (name: ComponentName): string | null => {
    const found = parts.get(name);
    if (found === undefined) throw invalid(path, `it lacks ${name}`);
    return found;
  };
  return { vqvae: part("vqvae"), unet: part("unet"), scheduler: part("scheduler") };
}

/** A pipeline's config: the library and class of each part, `[null, null]` where diffusers has no such class. */
export type PipelineConfig = JsonObject & {
  readonly [Name in ComponentName]: readonly [library: string | null, className: string | null];
};

/** What a pipeline's `model_index.json` says; frozen. @see diffusers.DiffusionPipeline.config */
export function pipelineConfig(index: ModelIndex): PipelineConfig {
  const pair = (name: ComponentName): readonly [string | null, string | null] =>
    Object.freeze(index[name] === null ? [null, null] : ["diffusers", index[name]]);
  return Object.freeze({
    _class_name: CLASS_NAME,
    _diffusers_version: DIFFUSERS_VERSION,
    scheduler: pair("scheduler"),
    unet: pair("unet"),
    vqvae: pair("vqvae"),
  });
}

/**
 * Write a pipeline folder's `model_index.json`, as diffusers' `LDMPipeline.save_pretrained` does.
 * @param folder is made if it does not exist
 * @throws LatentDiffusionError `ERR_IO`
 */
export async function writeModelIndex(folder: string, config: PipelineConfig): Promise<void> {
  await writeConfig(folder, INDEX_FILE, { className: CLASS_NAME, fields: {} }, config);
}

/** Take `model_index.json` away, so that a folder is not read while its parts are replaced. */
export async function removeModelIndex(folder: string): Promise<void> {
  const path = join(folder, INDEX_FILE);
  await rm(path, { force: true }).catch(raiseIo(`Cannot remove ${path}`));
}

function isComponent(key: string): boolean {
  return (COMPONENT_NAMES as readonly string[]).includes(key);
}

function isJsonList(value: JsonValue): boolean {
  return Array.isArray(value);
}

function parsePart(path: string, key: string, value: JsonValue): string | null {
  const [library, className] = Array.isArray(value) && value.length === 2 ? (value as readonly JsonValue[]) : [];
  if (library === null && className === null) return null;
  if (typeof library !== "string" || typeof className !== "string") {
    throw invalid(path, `Expected [library, class] for ${JSON.stringify(key)} but received ${JSON.stringify(value)}`);
  }
  if (library !== "diffusers") {
    throw unsupported(
      path,
      `Expected a class of "diffusers" for ${JSON.stringify(key)} but received ${JSON.stringify(className)} of ${JSON.stringify(library)}`,
    );
  }
  return className;
}

function invalid(path: string, what: string): LatentDiffusionError {
  return new LatentDiffusionError("ERR_CHECKPOINT_INVALID", `${path}: ${what}`);
}

function unsupported(path: string, what: string): LatentDiffusionError {
  return new LatentDiffusionError("ERR_CONFIG_UNSUPPORTED", `${path}: ${what}`);
}
