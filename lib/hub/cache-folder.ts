import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { copyFile, mkdir, readFile, realpath, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { LatentDiffusionError } from "../errors.js";
import { raiseIo } from "../files/atomic-file.js";
import { isPlainObject } from "../validate.js";
import { isCommit, repositoryFolder } from "./repository.js";
import type { RepositoryInfo } from "./repository-info.js";

const TAG = `Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag created by huggingface_hub.
# For information about cache directory tags, see:
#	https://bford.info/cachedir/spec.html
`;

/** Where a repository is in the cache. Every part has the layout of Python's `huggingface_hub`. */
export interface CacheFolder {
  /** The whole cache, of all repositories. */
  readonly root: string;
  /** The repository's own folder. */
  readonly storage: string;
  blob(etag: string): string;
  lock(etag: string): string;
  snapshot(commit: string): string;
}

/** Name the places of a repository in a cache. */
export function cacheFolder(root: string, id: string): CacheFolder {
  const storage = join(root, repositoryFolder(id));
  return {
    root,
    storage,
    blob: (etag) => join(storage, "blobs", etag),
    lock: (etag) => join(root, ".locks", repositoryFolder(id), `${etag}.lock`),
    snapshot: (commit) => join(storage, "snapshots", commit),
  };
}

/** Make the cache, with the tag that tells backup programs to pass it by. @throws LatentDiffusionError `ERR_IO` */
export async function makeCache({ root, storage }: CacheFolder): Promise<void> {
  await mkdir(join(storage, "blobs"), { recursive: true }).catch(raiseIo(`Cannot make the cache ${root}`));
  // A convenience for others; where it cannot be written, the cache works without it.
  await writeFile(join(root, "CACHEDIR.TAG"), TAG, { flag: "wx" }).catch(() => undefined);
}

/** Read the commit that a branch or tag was when it was last looked up; undefined where it never was. */
export async function readRef({ storage }: CacheFolder, revision: string): Promise<string | undefined> {
  if (isCommit(revision)) return revision;
  const text = await readFile(join(storage, "refs", ...revision.split("/")), "utf8").catch(() => "");
  return isCommit(text.trim()) ? text.trim() : undefined;
}

/** Note the commit of a branch or tag. A cache that cannot be written is used as it is. */
export async function writeRef(cache: CacheFolder, revision: string, commit: string): Promise<void> {
  if ((await readRef(cache, revision)) === commit) return;
  await writeNote(join(cache.storage, "refs", ...revision.split("/")), commit);
}

/** Note that a commit has no such file, as Python does, which then does not ask for it again. */
export async function writeNoExist({ storage }: CacheFolder, commit: string, name: string): Promise<void> {
  await writeNote(join(storage, ".no_exist", commit, ...name.split("/")), "");
}

/** Note the files of a commit: by this, Python says without the network whether a snapshot is whole. @see huggingface_hub._tree_cache */
export async function writeTree({ storage }: CacheFolder, { commit, files }: RepositoryInfo): Promise<void> {
  const path = join(storage, "trees", `${commit}.json`);
  // Python's may know more: the hashes of its other storage.
  if (await stat(path).catch(() => undefined)) return;
  const entries = [...files.values()]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, size, etag, blobId }): [string, object] => {
      const large = etag.length === 64 ? { lfs_sha256: etag, lfs_size: size } : {};
      return [name, { size, blob_id: blobId, ...large }];
    });
  await writeNote(path, JSON.stringify({ format_version: 1, files: Object.fromEntries(entries) }, null, 1));
}

/** Read the names of a commit's files from the cache; undefined where they were not noted. */
export async function readTreeNames({ storage }: CacheFolder, commit: string): Promise<string[] | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(join(storage, "trees", `${commit}.json`), "utf8"));
    const { format_version: version, files } = isPlainObject(value) ? value : {};
    return version === 1 && isPlainObject(files) ? Object.keys(files) : undefined;
  } catch {
    return undefined;
  }
}

/** Say whether a path is a file whose bytes are inside the cache; a link that leads out of it is not taken for one. */
export async function isInCache({ root }: CacheFolder, path: string): Promise<boolean> {
  try {
    const [realRoot, real] = await Promise.all([realpath(root), realpath(path)]);
    return real.startsWith(realRoot + sep) && (await stat(real)).isFile();
  } catch {
    return false;
  }
}

/**
 * Give a blob its name in a snapshot: a relative link, or, without links, the file itself or a copy of it.
 * @param isNew nothing else refers to the blob yet
 * @throws LatentDiffusionError `ERR_IO`
 * @see huggingface_hub.file_download._create_symlink
 */
export async function placeInSnapshot(
  blob: string,
  pointer: string,
  { symlinks, isNew }: { symlinks: boolean; isNew: boolean },
): Promise<void> {
  const temporary = `${pointer}.${randomBytes(4).toString("hex")}.tmp`;
  try {
    await mkdir(dirname(pointer), { recursive: true });
    if (symlinks && (await tryLink(blob, pointer, temporary))) return;
    if (isNew) {
      await rename(blob, pointer);
      return;
    }
    // A copy that shares its bytes, where the file system can.
    await copyFile(blob, temporary, constants.COPYFILE_FICLONE);
    await rename(temporary, pointer);
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => undefined);
    raiseIo(`Cannot write ${pointer}`)(cause);
  }
}

async function tryLink(blob: string, pointer: string, temporary: string): Promise<boolean> {
  try {
    await symlink(relative(dirname(pointer), blob), temporary);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? "";
    if (["EPERM", "EACCES", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EINVAL", "UNKNOWN"].includes(code)) return false;
    throw cause;
  }
  await rename(temporary, pointer);
  return true;
}

/** Write a small file whole, or not at all: nothing depends on it but speed. */
async function writeNote(path: string, text: string): Promise<void> {
  const temporary = `${path}.${randomBytes(4).toString("hex")}.tmp`;
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(temporary, text);
    await rename(temporary, path);
  } catch {
    await rm(temporary, { force: true }).catch(() => undefined);
  }
}

/** The error for what the cache lacks while the network is not to be used. */
export function notCached(id: string, revision: string, what: string): LatentDiffusionError {
  return new LatentDiffusionError(
    "ERR_HUB_OFFLINE",
    `${id} (${JSON.stringify(revision)}) is not in the cache: ${what}; download it once with the network, without localFilesOnly and HF_HUB_OFFLINE`,
  );
}
