import { randomBytes } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { LatentDiffusionError } from "../errors.js";

/**
 * Write a file so that its name always stands for a whole one: the old until the moment that the new is complete.
 * @param write fills the temporary file at the path it is given, in the same folder; the file is removed if anything fails
 */
export async function replaceFile(path: string, write: (temporary: string) => Promise<void>): Promise<void> {
  await replaceFiles([path], ([temporary = ""]) => write(temporary));
}

/** The same for several files that belong together: none is put in place before all are written. */
export async function replaceFiles(paths: readonly string[], write: (temporaries: readonly string[]) => Promise<void>): Promise<void> {
  const suffix = `.${process.pid}-${randomBytes(6).toString("hex")}.tmp`;
  const temporaries = paths.map((path) => path + suffix);
  try {
    await write(temporaries);
    for (const path of paths) await rename(path + suffix, path).catch(raiseIo(`Cannot write ${path}`));
  } catch (error) {
    await Promise.all(temporaries.map((temporary) => rm(temporary, { force: true }).catch(() => undefined)));
    throw error;
  }
}

/** Write bytes or text and force them to the disk. */
export async function writeWhole(path: string, content: Uint8Array | string): Promise<void> {
  const fail = raiseIo(`Cannot write ${path}`);
  const file = await open(path, "w").catch(fail);
  try {
    await file.writeFile(content);
    await file.sync();
  } catch (error) {
    fail(error);
  } finally {
    await file.close();
  }
}

/** Turn a rejection of `node:fs` into this package's error, `ERR_IO`, its cause kept. */
export function raiseIo(what: string): (cause: unknown) => never {
  return (cause) => {
    throw new LatentDiffusionError("ERR_IO", `${what}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  };
}
