/**
 * Every error of this package carries a stable `code`; messages may improve between versions, codes do not.
 * @see docs/errors.md
 */
export type ErrorCode =
  | "ERR_ABORTED"
  | "ERR_ADDON_NOT_FOUND"
  | "ERR_CHECKPOINT_INVALID"
  | "ERR_CHECKPOINT_NOT_FOUND"
  | "ERR_CONFIG_UNSUPPORTED"
  | "ERR_DEVICE_UNAVAILABLE"
  | "ERR_DISPOSED"
  | "ERR_DOWNLOAD_FAILED"
  | "ERR_HUB_ACCESS_DENIED"
  | "ERR_HUB_NOT_FOUND"
  | "ERR_HUB_OFFLINE"
  | "ERR_HUB_UNAVAILABLE"
  | "ERR_INTERNAL"
  | "ERR_INVALID_ARGUMENT"
  | "ERR_INVALID_STATE"
  | "ERR_IO"
  | "ERR_LIBTORCH_NOT_FOUND"
  | "ERR_LIBTORCH_UNSUPPORTED"
  | "ERR_NON_FINITE_OUTPUT"
  | "ERR_OUT_OF_MEMORY"
  | "ERR_QUEUE_FULL"
  | "ERR_TORCH"
  | "ERR_TORCHSCRIPT_INVALID"
  | "ERR_TORCHSCRIPT_UNTRUSTED";

/** No message is longer: what it quotes may come from a file or a caller, and have any length. */
const MESSAGE_LENGTH = 2000;

function bounded(message: string): string {
  if (message.length <= MESSAGE_LENGTH) return message;
  // Both ends tell something: where it happened, and what to do about it.
  return `${message.slice(0, MESSAGE_LENGTH - 405)} ... ${message.slice(-400)}`;
}

/** An error of this package that is not the fault of one argument's type or range. */
export class LatentDiffusionError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(bounded(message), options);
    this.name = "LatentDiffusionError";
    this.code = code;
  }
}

/** A wrong type, range or spelling of an argument or option; thrown before any work is done. */
export class InvalidArgumentError extends TypeError {
  readonly code = "ERR_INVALID_ARGUMENT";

  constructor(message: string) {
    super(bounded(message));
    // A TypeError to everyone who checks, under the name that Node gives such errors.
    this.name = "TypeError";
  }
}

/** The rejection of an operation that its `AbortSignal` stopped; `cause` is the signal's reason. */
export class AbortError extends Error {
  readonly code = "ERR_ABORTED";

  constructor(reason?: unknown) {
    super("The operation was aborted", { cause: reason });
    this.name = "AbortError";
  }
}

/** Throw {@link AbortError} if the signal has been aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new AbortError(signal.reason);
}

/** What waits for each signal: one listener per signal, since Node warns of a leak at eleven, and a server may have one signal for all runs. */
const WAITING = new WeakMap<AbortSignal, { readonly listener: () => void; readonly callbacks: Set<() => void> }>();

/**
 * Call back once when the signal aborts.
 * @returns a function that ends the wait
 */
function whenAborted(signal: AbortSignal, callback: () => void): () => void {
  const waiting = WAITING.get(signal) ?? listenTo(signal);
  // Two waits may have the same function.
  const own = (): void => callback();
  waiting.callbacks.add(own);
  return () => {
    waiting.callbacks.delete(own);
    if (waiting.callbacks.size > 0 || WAITING.get(signal) !== waiting) return;
    signal.removeEventListener("abort", waiting.listener);
    WAITING.delete(signal);
  };
}

function listenTo(signal: AbortSignal): { readonly listener: () => void; readonly callbacks: Set<() => void> } {
  const callbacks = new Set<() => void>();
  const listener = (): void => {
    WAITING.delete(signal);
    for (const callback of callbacks) callback();
  };
  signal.addEventListener("abort", listener, { once: true });
  const waiting = { listener, callbacks };
  WAITING.set(signal, waiting);
  return waiting;
}

/**
 * Abort a controller as soon as a signal aborts, for the same reason; at once if it has.
 * @returns a function that lets go of the signal
 */
export function followSignal(signal: AbortSignal | undefined, controller: AbortController): () => void {
  if (signal?.aborted) controller.abort(signal.reason);
  if (!signal || signal.aborted) return () => undefined;
  return whenAborted(signal, () => controller.abort(signal.reason));
}

/** Settle with the promise, or reject with {@link AbortError} as soon as the signal aborts; `onAbort` tells the work to stop. */
export async function abortable<T>(promise: Promise<T>, signal: AbortSignal, onAbort: () => void): Promise<T> {
  let stop = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = whenAborted(signal, () => {
      onAbort();
      reject(new AbortError(signal.reason));
    });
  });
  // The race may be lost by a forward that then fails by itself: nobody waits for it any more.
  promise.catch(() => undefined);
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    stop();
  }
}

/**
 * Wait for something that must be freed, but no longer than until the signal aborts; what comes later is freed.
 * @param free called with what nobody waits for any more
 * @throws AbortError at once when the signal aborts; what the promise rejects with
 */
export function abortableResource<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
  free: (late: T) => void,
): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    let aborted = signal.aborted;
    const abort = (): void => {
      aborted = true;
      reject(new AbortError(signal.reason));
    };
    let stop = (): void => undefined;
    if (aborted) abort();
    else stop = whenAborted(signal, abort);
    promise.finally(() => stop()).then((value) => (aborted ? free(value) : resolve(value)), reject);
  });
}
