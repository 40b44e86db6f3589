import { type FileHandle, mkdir, open } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { throwIfAborted } from "../errors.js";
import { tryLock } from "../native/open.js";

const POLL_MILLISECONDS = 50;

/**
 * Do something while holding a lock that Python's `filelock` honours, and that a process loses when it dies. It only keeps two processes
 * from doing the same work: where locks do not work, both do it, and the result is still right.
 * @param path of the lock's own file, which stays
 * @param work is told whether the lock is held
 * @throws AbortError while waiting; what `work` throws
 */
export async function withFileLock<T>(
  path: string,
  signal: AbortSignal | undefined,
  work: (isLocked: boolean) => Promise<T>,
): Promise<T> {
  const file = await lock(path, signal);
  try {
    return await work(file !== undefined);
  } finally {
    // Closing lets the lock go.
    await file?.close();
  }
}

async function lock(path: string, signal: AbortSignal | undefined): Promise<FileHandle | undefined> {
  for (;;) {
    throwIfAborted(signal);
    const file = await openLock(path);
    if (file === undefined) return undefined;
    const isHeld = tryLock(file.fd);
    // A lock on a file that was removed meanwhile guards nothing.
    if (isHeld === true && (await file.stat()).nlink > 0) return file;
    await file.close();
    if (isHeld === null) return undefined;
    if (!isHeld) await sleep(POLL_MILLISECONDS, undefined, { signal }).catch((): void => undefined);
  }
}

async function openLock(path: string): Promise<FileHandle | undefined> {
  try {
    await mkdir(dirname(path), { recursive: true });
    return await open(path, "a", 0o664);
  } catch {
    return undefined;
  }
}
