import type { StatsFs } from "node:fs";
import { readdir, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { AbortError, LatentDiffusionError } from "../errors.js";
import {
  type CacheFolder,
  cacheFolder,
  isInCache,
  makeCache,
  notCached,
  placeInSnapshot,
  readRef,
  readTreeNames,
  writeNoExist,
  writeRef,
  writeTree,
} from "./cache-folder.js";
import { downloadBlob } from "./download-blob.js";
import { withFileLock } from "./file-lock.js";
import { checkHubOptions, type HubOptions, type HubSettings } from "./options.js";
import { ProgressCounter } from "./progress.js";
import { checkFileName, checkRepositoryId, isCommit } from "./repository.js";
import { fetchRepositoryInfo, type RepositoryFile, type RepositoryInfo } from "./repository-info.js";

/** So many files come at a time. */
const AT_ONCE = 4;

/** A repository whose needed files are being chosen. */
export interface Choice {
  readonly id: string;
  /** The names of all files, with slashes. */
  readonly names: ReadonlySet<string>;
  /** Get one file first, such as the one that says which others are needed. @returns its path */
  readonly fetch: (name: string) => Promise<string>;
}

/** What to download. */
export interface SnapshotRequest extends HubOptions {
  /** `"owner/name"`. */
  id: string;
  /** Says which files are needed; default: all. */
  choose?: (choice: Choice) => Promise<Iterable<string>>;
}

/**
 * Bring the needed files of a repository into the cache that Python shares.
 * @returns the snapshot's folder, which holds at least these files
 * @throws InvalidArgumentError; AbortError; LatentDiffusionError `ERR_HUB_NOT_FOUND`, `ERR_HUB_ACCESS_DENIED`, `ERR_HUB_UNAVAILABLE`,
 *   `ERR_HUB_OFFLINE`, `ERR_DOWNLOAD_FAILED`, `ERR_IO`; what `choose` throws
 * @see huggingface_hub.snapshot_download
 */
export async function downloadSnapshot({ id, choose, ...options }: SnapshotRequest): Promise<string> {
  return snapshotWith(checkRepositoryId(id, "id"), choose ?? allFiles, checkHubOptions(options));
}

/** As {@link downloadSnapshot}, with settings that are checked already. */
export async function snapshotWith(
  id: string,
  choose: NonNullable<SnapshotRequest["choose"]>,
  settings: HubSettings,
): Promise<string> {
  const cache = cacheFolder(settings.cacheDir, id);
  if (settings.localFilesOnly) return findSnapshot(cache, id, choose, settings);
  // A commit never moves: what is here needs no question.
  if (isCommit(settings.revision) && !settings.forceDownload) {
    const found = await findSnapshot(cache, id, choose, settings).catch(() => undefined);
    if (found !== undefined && (await readTreeNames(cache, settings.revision))) return found;
  }
  let info: RepositoryInfo;
  try {
    info = await fetchRepositoryInfo(id, settings);
  } catch (error) {
    return findInstead(error, cache, id, choose, settings);
  }
  return fetchSnapshot({ id, info, cache, settings }, choose);
}

async function allFiles({ names }: Choice): Promise<Iterable<string>> {
  return Promise.resolve(names);
}

/** Where the hub cannot be asked, take what the cache holds, as Python does; else say why it could not be asked. */
async function findInstead(
  error: unknown,
  cache: CacheFolder,
  id: string,
  choose: NonNullable<SnapshotRequest["choose"]>,
  settings: HubSettings,
): Promise<string> {
  const { code } = error as LatentDiffusionError;
  if (settings.forceDownload || (code !== "ERR_HUB_UNAVAILABLE" && code !== "ERR_HUB_ACCESS_DENIED")) throw error;
  return findSnapshot(cache, id, choose, settings).catch(() => {
    throw error;
  });
}

/** Find a snapshot in the cache that has the needed files. */
async function findSnapshot(
  cache: CacheFolder,
  id: string,
  choose: NonNullable<SnapshotRequest["choose"]>,
  { revision }: HubSettings,
): Promise<string> {
  const commit = await readRef(cache, revision);
  const folder = commit === undefined ? undefined : cache.snapshot(commit);
  const here = folder === undefined ? undefined : await listFiles(folder);
  if (commit === undefined || folder === undefined || here === undefined)
    throw notCached(id, revision, "it was never downloaded");
  const names = new Set((await readTreeNames(cache, commit)) ?? here);
  const fetch = async (name: string): Promise<string> => {
    const path = join(folder, checkFileName(name, id));
    if (await isInCache(cache, path)) return path;
    throw notCached(id, revision, `${name} is missing`);
  };
  for (const name of await choose({ id, names, fetch })) await fetch(name);
  return folder;
}

async function listFiles(folder: string): Promise<string[] | undefined> {
  const names = await readdir(folder, { recursive: true }).catch(() => undefined);
  return names?.map((name) => name.replaceAll("\\", "/"));
}

/** A download in progress. */
interface Download {
  readonly id: string;
  readonly info: RepositoryInfo;
  readonly cache: CacheFolder;
  readonly settings: HubSettings;
}

async function fetchSnapshot(download: Download, choose: NonNullable<SnapshotRequest["choose"]>): Promise<string> {
  const { id, info, cache, settings } = download;
  const folder = cache.snapshot(info.commit);
  const progress = new ProgressCounter(settings.onProgress);
  const done = new Map<string, Promise<void>>();
  const fetch = async (name: string): Promise<string> => {
    const file = info.files.get(name);
    if (file === undefined) {
      await writeNoExist(cache, info.commit, name);
      throw new LatentDiffusionError(
        "ERR_HUB_NOT_FOUND",
        `The repository ${id} has no file ${JSON.stringify(name)} in ${JSON.stringify(settings.revision)}`,
      );
    }
    const work = done.get(name) ?? fetchFile(download, file, progress);
    done.set(name, work);
    await work;
    return join(folder, name);
  };
  const names = [...new Set(await choose({ id, names: new Set(info.files.keys()), fetch }))];
  const files = names.flatMap((name) => info.files.get(name) ?? []);
  await checkSpace(download, files);
  progress.expect(files);
  await forEachAtOnce(names, settings, fetch);
  await writeTree(cache, info);
  if (!isCommit(settings.revision)) await writeRef(cache, settings.revision, info.commit);
  return folder;
}

async function fetchFile(
  { id, info, cache, settings }: Download,
  file: RepositoryFile,
  progress: ProgressCounter,
): Promise<void> {
  progress.expect([file]);
  const pointer = join(cache.snapshot(info.commit), file.name);
  const { symlinks, signal, forceDownload } = settings;
  const isPlaced = async (): Promise<boolean> => !forceDownload && (await isInCache(cache, pointer));
  if (await isPlaced()) {
    progress.finish(file.size);
    return;
  }
  await makeCache(cache);
  const blob = cache.blob(file.etag);
  await withFileLock(cache.lock(file.etag), signal, async (isLocked) => {
    // Another process may have brought it while this one waited.
    if (await isPlaced()) {
      progress.finish(file.size);
      return;
    }
    const isThere = !forceDownload && (await isWhole(cache, blob, file));
    if (!isThere) {
      const onBytes = (count: number, isNew: boolean): void => progress.add(count, isNew);
      await downloadBlob({ id, commit: info.commit, file, path: blob, isLocked, onBytes }, settings);
    }
    await placeInSnapshot(blob, pointer, { symlinks, isNew: !isThere });
    progress.finish(isThere ? file.size : 0);
  });
}

/** Say whether a blob is here: in this repository's folder, or, through a link, in the store that repositories share. */
async function isWhole(cache: CacheFolder, blob: string, { size }: RepositoryFile): Promise<boolean> {
  return (await isInCache(cache, blob)) && (await stat(blob)).size === size;
}

/** Do a few at a time; after a failure none is begun, and those that run are waited for. */
async function forEachAtOnce(
  names: readonly string[],
  settings: HubSettings,
  work: (name: string) => Promise<unknown>,
): Promise<void> {
  const waiting = [...names];
  const failures: unknown[] = [];
  const stop = new AbortController();
  const run = async (): Promise<void> => {
    for (let name = waiting.shift(); name !== undefined && !stop.signal.aborted; name = waiting.shift()) {
      await work(name).catch((error: unknown) => {
        failures.push(error);
        stop.abort();
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, run));
  if (settings.signal?.aborted) throw new AbortError(settings.signal.reason);
  if (failures.length > 0) throw failures[0];
}

/** Fail before a download of gigabytes where it cannot end well. */
async function checkSpace({ id, cache, settings, info }: Download, files: readonly RepositoryFile[]): Promise<void> {
  let needed = 0;
  for (const file of files) {
    const pointer = join(cache.snapshot(info.commit), file.name);
    if (settings.forceDownload || !(await isInCache(cache, pointer))) needed += file.size;
  }
  const disk = await statfsOfParent(cache.storage);
  // Some file systems say that nothing is free, and take files all the same.
  const free = disk === undefined || disk.bavail === 0 ? Infinity : disk.bavail * disk.bsize;
  if (needed <= free) return;
  throw new LatentDiffusionError(
    "ERR_IO",
    `The disk has ${free} bytes free, and ${id} needs ${needed}: free some, or set cacheDir or HF_HUB_CACHE to a folder on another disk`,
  );
}

/** Ask for the disk of a folder that need not be there yet. */
async function statfsOfParent(folder: string): Promise<StatsFs | undefined> {
  const disk = await statfs(folder).catch(() => undefined);
  return disk !== undefined || dirname(folder) === folder ? disk : statfsOfParent(dirname(folder));
}
