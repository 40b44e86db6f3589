import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { LatentDiffusionError } from "../errors.js";
import { raiseIo } from "./atomic-file.js";
import { refuseMisplaced } from "./misplaced.js";

/** Opening a FIFO would otherwise wait for a writer, on a thread of which a process has four. Windows has no such flag and no such files. */
const FLAGS = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/**
 * Read a file whole. Only regular files are read: a FIFO, a device, a socket or a folder is refused at once.
 * @param limit in bytes; a longer file is refused before it is read
 * @returns the file's bytes; never more than `limit`, even where the file grows
 * @throws LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND`; `ERR_CHECKPOINT_INVALID` for a file that is too long, empty, a Git LFS pointer or
 *   an HTML page; `ERR_IO`
 */
export async function readWholeFile(path: string, limit: number): Promise<Buffer> {
  const file = await open(path, FLAGS).catch((cause: unknown) => {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== "ENOENT" && code !== "ENOTDIR") return raiseIo(`Cannot read ${path}`)(cause);
    throw new LatentDiffusionError("ERR_CHECKPOINT_NOT_FOUND", `${path} does not exist`, { cause });
  });
  try {
    const bytes = await readOpen(file, path, limit);
    refuseMisplaced(bytes, path);
    return bytes;
  } catch (cause) {
    if (cause instanceof LatentDiffusionError) throw cause;
    return raiseIo(`Cannot read ${path}`)(cause);
  } finally {
    await file.close();
  }
}

async function readOpen(file: FileHandle, path: string, limit: number): Promise<Buffer> {
  const status = await file.stat();
  if (!status.isFile()) {
    const what = status.isDirectory() ? "a folder" : status.isFIFO() ? "a FIFO" : "not a regular file";
    throw new LatentDiffusionError("ERR_IO", `${path}: Expected a file but received ${what}`);
  }
  if (status.size > limit)
    throw new LatentDiffusionError(
      "ERR_CHECKPOINT_INVALID",
      `${path}: ${status.size} bytes, above the bound of ${limit}`,
    );
  const bytes = Buffer.alloc(status.size);
  let length = 0;
  while (length < bytes.length) {
    const { bytesRead } = await file.read(bytes, length, bytes.length - length, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return bytes.subarray(0, length);
}
