import { stat } from "node:fs/promises";
import { LatentDiffusionError } from "../errors.js";
import { checkHubOptions, type HubOptions } from "../hub/options.js";
import { isRepositoryId } from "../hub/repository.js";
import { type Choice, snapshotWith } from "../hub/snapshot.js";
import { checkPath, checkString } from "../validate.js";
import { readWeightMap } from "./weights.js";
import { chooseWeights, weightsNotFound } from "./weight-files.js";

/** Says which files of a repository are needed. */
export type Choose = (choice: Choice) => Promise<Iterable<string>>;

/** What the hub says when a name is neither there nor here. */
const ABSENT: readonly string[] = ["ERR_HUB_NOT_FOUND", "ERR_HUB_OFFLINE", "ERR_HUB_UNAVAILABLE"];

/**
 * Find a checkpoint: a folder of that name if there is one, else the repository on the hub, whose needed files are downloaded.
 * @param source a folder, a `file:` URL, or a repository's id, `"owner/name"`
 * @param choose is not called for a folder
 * @returns the folder
 * @throws InvalidArgumentError; AbortError; LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND` where it is neither, and as {@link snapshotWith}
 * @see diffusers.DiffusionPipeline.from_pretrained
 */
export async function locateCheckpoint(source: string | URL, options: HubOptions, choose: Choose): Promise<string> {
  const isUrl = typeof source === "string" && /^file:\/\//i.test(source) && URL.canParse(source);
  const path = checkPath(isUrl ? new URL(source) : source, "folder");
  const found = await stat(path).catch(() => undefined);
  // What the environment says of the hub matters to nobody who loads a folder.
  const isAsked = Object.values(options).some((value) => value !== undefined);
  if (found?.isDirectory() && !isAsked) return path;
  const settings = checkHubOptions(options);
  if (found?.isDirectory()) return path;
  const why = found
    ? "it is a file; name the folder that holds it"
    : "there is no such folder, and it has not the form of a repository on the hub (owner/name)";
  if (found !== undefined || typeof source !== "string" || !isRepositoryId(path))
    throw new LatentDiffusionError(
      "ERR_CHECKPOINT_NOT_FOUND",
      `Expected a checkpoint folder or a repository's name but received ${JSON.stringify(path)}: ${why}`,
    );
  try {
    return await snapshotWith(path, choose, settings);
  } catch (error) {
    if (!(error instanceof LatentDiffusionError) || !ABSENT.includes(error.code)) throw error;
    throw new LatentDiffusionError(error.code, `There is no folder ${path} here; on the hub: ${error.message}`, {
      cause: error,
    });
  }
}

/**
 * Name the files that a network needs: its config, and one set of weights with nothing beside it.
 * @param folder of the network in the repository; `""` for the repository itself
 * @throws LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND` where there are no such weights; what `fetch` throws
 */
export async function networkFiles(
  { id, names, fetch }: Choice,
  folder: string,
  variant: string | undefined,
): Promise<string[]> {
  const prefix = folder === "" ? "" : `${folder}/`;
  const here = namesIn(names, prefix);
  const weights = chooseWeights(here, variant);
  if (weights === undefined) throw weightsNotFound(`${id}/${folder}`.replace(/\/$/, ""), here, variant);
  const { name, format, isIndex } = weights;
  const shards = isIndex ? new Set((await readWeightMap(await fetch(prefix + name), format)).values()) : [];
  return ["config.json", name, ...shards].map((file) => prefix + file);
}

/**
 * Check the option `subfolder`.
 * @returns with forward slashes, as in a repository; `""` where it is not given
 * @throws InvalidArgumentError
 */
export function checkSubfolder(subfolder: string | undefined): string {
  if (subfolder === undefined) return "";
  return checkString(subfolder, "subfolder")
    .replaceAll("\\", "/")
    .replace(/^(\.\/)+|\/+$/g, "");
}

/** The names of the files in a folder of a repository, without those in folders inside it. */
export function namesIn(names: Iterable<string>, prefix: string): ReadonlySet<string> {
  const inside = [...names].filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
  return new Set(inside.filter((name) => !name.includes("/")));
}
