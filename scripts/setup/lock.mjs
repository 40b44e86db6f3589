import { mkdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

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
  for (let waited = false; !take(file); waited = true) {
    if (!waited) onWait();
    await sleep(RETRY_MS);
  }
  const heartbeat = setInterval(() => touch(file), HEARTBEAT_MS).unref();
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    rmSync(file, { force: true });
  }
}

function take(file) {
  if (isAbandoned(file)) rmSync(file, { force: true });
  try {
    writeFileSync(file, `${process.pid}\n`, { flag: "wx" });
    return true;
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
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
