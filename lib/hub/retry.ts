import { setTimeout as sleep } from "node:timers/promises";
import { throwIfAborted } from "../errors.js";
import type { HubSettings } from "./options.js";
import { TemporaryError } from "./request.js";

/** Tries in a row that bring nothing new. */
const MOST_TRIES = 5;
const LONGEST_DELAY = 30_000;
/** A server that asks for more than this is not waited for. */
const LONGEST_WAIT = 300_000;

/**
 * Do something until it works: what fails with a {@link TemporaryError} is tried again, later each time, or when the server says.
 * @param attempt says by `progressed` that this try brought something new, so that the count starts again
 * @throws what the last attempt throws; AbortError
 */
export async function withRetries<T>(
  settings: HubSettings,
  attempt: (progressed: () => void) => Promise<T>,
): Promise<T> {
  for (let failed = 0; ;) {
    let isFresh = false;
    try {
      return await attempt(() => (isFresh = true));
    } catch (error) {
      failed = isFresh ? 1 : failed + 1;
      if (!(error instanceof TemporaryError) || failed >= MOST_TRIES || (error.retryAfter ?? 0) > LONGEST_WAIT)
        throw error;
      await pause(error.retryAfter ?? Math.min(LONGEST_DELAY, settings.retryDelay * 2 ** (failed - 1)), settings);
    }
  }
}

async function pause(milliseconds: number, { signal }: HubSettings): Promise<void> {
  // Many clients that failed at once must not come back at once.
  await sleep(milliseconds * (1 + Math.random() / 4), undefined, { signal }).catch((): void => undefined);
  throwIfAborted(signal);
}
