import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { SetupError } from "./command.mjs";

/** A holder touches its lock this often. */
const HEARTBEAT_MS = 1000;
/** A lock that nobody has touched for so long was left by a process that was killed. */
const ABANDONED_MS = 15_000;
const RETRY_MS = 200;

/**
 * Do something that only one process at a time may do in this checkout.
 * @template T
 * @param {string} file the lock; it exists while somebody works
 * @param {() => Promise<T>} work
 * @param {() => void} [onWait] called once, if another process has to be waited for
 * @returns {Promise<T>}
 */
export async function withLock(file, work, onWait = () => undefined) {
  mkdirSync(dirname(file), { recursive: true });
  const owner = randomUUID();
  for (let waited = false; !take(file, owner); waited = true) {
    if (!waited) onWait();
    await sleep(RETRY_MS);
  }
  const heartbeat = setInterval(() => touch(file), HEARTBEAT_MS).unref();
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    // A process that slept for long has lost its lock to another one, and must not remove that one's.
    if (ownerOf(file) === owner) rmSync(file, { force: true });
  }
}

function take(file, owner) {
  if (create(file, owner)) return true;
  if (!isAbandoned(file)) return false;
  // Two waiters may both see an abandoned lock. Only the holder of this second file removes it, after looking again: otherwise the slower
  // waiter would remove the fresh lock of the faster one.
  const guard = `${file}.takeover`;
  if (!create(guard, owner)) {
    if (isAbandoned(guard))
      throw new SetupError(
        `${guard} was left by a process that was killed`,
        "Delete that file, then run the command again.",
      );
    return false;
  }
  try {
    if (isAbandoned(file)) rmSync(file, { force: true });
    return create(file, owner);
  } finally {
    rmSync(guard, { force: true });
  }
}

/** @returns {boolean} whether this process created the file; false: it exists */
function create(file, owner) {
  try {
    writeFileSync(file, owner, { flag: "wx" });
    return true;
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
  }
}

function ownerOf(file) {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

function isAbandoned(file) {
  const found = statSync(file, { throwIfNoEntry: false });
  return found !== undefined && Date.now() - found.mtimeMs > ABANDONED_MS;
}

function touch(file) {
  const now = new Date();
  try {
    utimesSync(file, now, now);
  } catch {
    // `npm run clean` took it away: there is nothing left to guard.
  }
}
