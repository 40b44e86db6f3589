import { randomBytes } from "node:crypto";
import { fsync, mkdtempSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { LatentDiffusionError } from "../errors.js";

/** `FileHandle.sync` is not there under Yarn Plug'n'Play, whose file handles are its own. */
const sync = promisify(fsync);

/** A file to be written whole. */
export interface PendingFile {
  readonly path: string;
  /** Fills a temporary file in the same folder. */
  readonly write: (temporary: string) => Promise<void>;
}

/** How several files are put in place. */
export interface ReplaceOptions {
  /** The file without which the others are not read: gone before the first of them is replaced, in place after the last. */
  seal?: PendingFile;
  /** Called when all but the seal are in place. */
  clean?: () => Promise<void>;
}

/** Write a file so that its name always stands for a whole one: the old until the moment that the new is complete. */
export async function replaceFile(path: string, write: PendingFile["write"]): Promise<void> {
  await replaceFiles([{ path, write }]);
}

/**
 * The same for several files that belong together: none is put in place before all are complete. Temporary files are removed if
 * anything fails.
 */
export async function replaceFiles(files: readonly PendingFile[], { seal, clean }: ReplaceOptions = {}): Promise<void> {
  const suffix = `.${process.pid}-${randomBytes(6).toString("hex")}.tmp`;
  const all = seal ? [...files, seal] : files;
  const place = ({ path }: PendingFile): Promise<void> =>
    rename(path + suffix, path).catch(raiseIo(`Cannot write ${path}`));
  try {
    for (const { path, write } of all) await write(path + suffix);
    if (seal) await rm(seal.path, { force: true }).catch(raiseIo(`Cannot replace ${seal.path}`));
    for (const file of files) await place(file);
    await clean?.();
    if (seal) await place(seal);
  } catch (error) {
    await Promise.all(all.map(({ path }) => rm(path + suffix, { force: true }).catch(() => undefined)));
    throw error;
  }
}

/** Write bytes or text and force them to the disk. */
export async function writeWhole(path: string, content: Uint8Array | string): Promise<void> {
  const fail = raiseIo(`Cannot write ${path}`);
  const file = await open(path, "w").catch(fail);
  try {
    await file.writeFile(content);
    await sync(file.fd);
  } catch (error) {
    fail(error);
  } finally {
    await file.close();
  }
}

/**
 * As {@link replaceFile}, for a format that writes its file's name into the file, as TorchScript's archives do: the temporary file has
 * the same name, in a folder of its own.
 * @param write is called before anything is waited for
 */
export async function replaceNamedFile(path: string, write: PendingFile["write"]): Promise<void> {
  const fail = raiseIo(`Cannot write ${path}`);
  let folder = "";
  try {
    folder = mkdtempSync(`${path}.tmp-`);
  } catch (error) {
    fail(error);
  }
  const temporary = join(folder, basename(path));
  try {
    await write(temporary);
    const file = await open(temporary, "r+").catch(fail);
    await sync(file.fd)
      .catch(fail)
      .finally(() => file.close());
    await rename(temporary, path).catch(fail);
  } finally {
    await rm(folder, { recursive: true, force: true }).catch(() => undefined);
  }
}

/** Turn a rejection of `node:fs` into this package's error, `ERR_IO`, its cause kept. */
export function raiseIo(what: string): (cause: unknown) => never {
  return (cause) => {
    throw new LatentDiffusionError("ERR_IO", `${what}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  };
}
