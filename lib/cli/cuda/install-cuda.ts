import { existsSync } from "node:fs";
import { mkdir, rename, rm, statfs } from "node:fs/promises";
import { basename, join } from "node:path";
import { throwIfAborted } from "../../errors.js";
import { raiseIo } from "../../files/atomic-file.js";
import { withFileLock } from "../../hub/file-lock.js";
import { CommandError } from "../failure.js";
import { formatBytes } from "../terminal.js";
import { downloadSettings, downloadWheel, fetchText, isWheel } from "./download.js";
import { locateWheels, type SourceOptions, type WheelSource } from "./sources.js";
import { unpackWheel } from "./unpack.js";
import type { CudaBuild, CudaWheel } from "./wheels.js";

/** How a CUDA build is installed. */
export interface InstallOptions extends Omit<SourceOptions, "fetchText"> {
  /** Where `torch/` and `nvidia/` go; it is there whole or not at all. Its parent holds the downloads and the lock. */
  readonly folder: string;
  /** Told what is done now, and of how many bytes. */
  readonly onStage?: (stage: "download" | "unpack", bytes: number) => void;
  /** Told of bytes of the present stage; negative for those that were thrown away. */
  readonly onBytes?: (count: number) => void;
  /** Milliseconds before the first repetition of a request. */
  readonly retryDelay?: number;
}

/**
 * Install a CUDA build: get each wheel, check its hash, unpack what a LibTorch needs beside the final place, and move it there.
 * @returns false if it was there already
 * @throws CommandError `ERR_SOURCE_UNKNOWN`, `ERR_DOWNLOAD_FAILED`, `ERR_DISK_FULL`; LatentDiffusionError `ERR_IO`, `ERR_HUB_UNAVAILABLE`;
 *   AbortError, what was downloaded is kept
 */
export async function installCuda(build: CudaBuild, options: InstallOptions): Promise<boolean> {
  const { folder, signal } = options;
  const cache = join(folder, "..");
  await mkdir(cache, { recursive: true }).catch(raiseIo(`Cannot make ${cache}`));
  return withFileLock(join(cache, `${basename(folder)}.lock`), signal, async () => {
    // Another process may have installed it while this one waited.
    if (existsSync(folder)) return false;
    const downloads = join(cache, "downloads");
    const files = await gatherWheels(build, downloads, options);
    await unpackAll(build, files, options);
    await rm(downloads, { recursive: true, force: true });
    return true;
  });
}

/** @returns the path of each wheel; all have the right hash */
async function gatherWheels(build: CudaBuild, downloads: string, options: InstallOptions): Promise<readonly string[]> {
  const { signal, onStage, onBytes = () => undefined } = options;
  const settings = {
    ...downloadSettings(signal),
    ...(options.retryDelay === undefined ? {} : { retryDelay: options.retryDelay }),
  };
  await mkdir(downloads, { recursive: true }).catch(raiseIo(`Cannot make ${downloads}`));
  const target = ({ file }: CudaWheel): string => join(downloads, file);
  // What an earlier run verified and put in place.
  const isHere = (wheel: CudaWheel): boolean => existsSync(target(wheel));
  const missing = build.wheels.filter((wheel) => !isHere(wheel));
  const sources = await locateWheels(missing, {
    ...options,
    fetchText: (url, accept) => fetchText(url, accept, settings),
  });
  const toLoad = missing.filter((wheel) => "url" in sourceOf(wheel, sources));
  await refuseFullDisk(downloads, sum(toLoad) + build.unpackedBytes, statfs);
  onStage?.("download", sum(build.wheels));
  const paths: string[] = [];
  for (const wheel of build.wheels) {
    throwIfAborted(signal);
    const source = isHere(wheel) ? { path: target(wheel) } : sourceOf(wheel, sources);
    if ("url" in source) await downloadWheel(wheel, source.url, target(wheel), settings, onBytes);
    else if (!(await isWheel(wheel, source.path, onBytes, signal))) throw wrongFile(wheel, source.path);
    paths.push("url" in source ? target(wheel) : source.path);
  }
  return paths;
}

function sourceOf(wheel: CudaWheel, sources: ReadonlyMap<CudaWheel, WheelSource>): WheelSource {
  const source = sources.get(wheel);
  if (source === undefined) throw new Error(`Nobody located ${wheel.file}`);
  return source;
}

function sum(wheels: readonly CudaWheel[]): number {
  return wheels.reduce((total, { bytes }) => total + bytes, 0);
}

/**
 * Refuse to begin what the disk cannot hold.
 * @param ask tells blocks and their size
 * @throws CommandError `ERR_DISK_FULL`
 */
export async function refuseFullDisk(
  folder: string,
  needed: number,
  ask: (path: string) => Promise<{ bavail: number; bsize: number }>,
): Promise<void> {
  const found = await ask(folder).catch(() => undefined);
  if (found === undefined || found.bavail * found.bsize >= needed) return;
  throw new CommandError(
    "ERR_DISK_FULL",
    `The CUDA build needs ${formatBytes(needed)} in ${folder}, and ${formatBytes(found.bavail * found.bsize)} are free`,
    "Free some space, or set LATENT_DIFFUSION_CACHE to a folder on another disk.",
  );
}

async function unpackAll(build: CudaBuild, files: readonly string[], options: InstallOptions): Promise<void> {
  const { folder, signal, onStage, onBytes = () => undefined } = options;
  const partial = `${folder}.partial`;
  await rm(partial, { recursive: true, force: true }).catch(raiseIo(`Cannot remove ${partial}`));
  onStage?.("unpack", build.unpackedBytes);
  try {
    for (const file of files) {
      throwIfAborted(signal);
      await unpackWheel(file, partial, onBytes, signal);
    }
    await rename(partial, folder).catch(raiseIo(`Cannot make ${folder}`));
  } catch (error) {
    await rm(partial, { recursive: true, force: true }).catch(() => undefined);
    throwIfAborted(signal);
    throw error;
  }
}

function wrongFile({ file, sha256 }: CudaWheel, path: string): CommandError {
  return new CommandError(
    "ERR_DOWNLOAD_FAILED",
    `${path} is not the wheel that it is called: its size or hash is wrong (${sha256} is expected)`,
    `Remove it, and get ${file} again.`,
  );
}
