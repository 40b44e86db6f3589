import type { StreamEvent } from "./generate-options.js";
import type { OutputType } from "./image-pipeline-output.js";

/** The events of a run; leaving the loop over them early stops the work. */
export interface EventStream<Type extends OutputType = "image"> extends AsyncIterableIterator<StreamEvent<Type>> {
  next(): Promise<IteratorResult<StreamEvent<Type>, undefined>>;
  return(): Promise<IteratorResult<StreamEvent<Type>, undefined>>;
  [Symbol.asyncIterator](): EventStream<Type>;
}

/**
 * Make a run's events an iterator whose `return` does not wait for what runs, but stops it.
 * @param start begins the run; nothing is done before the first `next()`
 * @param stop tells the run to give up
 */
export function eventStream<Type extends OutputType>(
  events: AsyncGenerator<StreamEvent<Type>, void, undefined>,
  stop: () => void,
): EventStream<Type> {
  let stopped = false;
  const end: IteratorResult<StreamEvent<Type>, undefined> = { done: true, value: undefined };
  return {
    async next() {
      try {
        const result = await events.next();
        return result.done ? end : result;
      } catch (error) {
        // Who left the loop does not want to hear that the work was stopped.
        if (stopped) return end;
        throw error;
      }
    },
    async return() {
      stopped = true;
      stop();
      // A generator that waits takes this as an exception; one that was stopped has ended by its own.
      await events.return(undefined).catch(() => undefined);
      return end;
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
