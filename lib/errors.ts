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
  | "ERR_INTERNAL"
  | "ERR_INVALID_ARGUMENT"
  | "ERR_INVALID_STATE"
  | "ERR_IO"
  | "ERR_LIBTORCH_NOT_FOUND"
  | "ERR_LIBTORCH_UNSUPPORTED"
  | "ERR_NON_FINITE_OUTPUT"
  | "ERR_OUT_OF_MEMORY"
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

/** Settle with the promise, or reject with {@link AbortError} as soon as the signal aborts; `onAbort` tells the work to stop. */
export async function abortable<T>(promise: Promise<T>, signal: AbortSignal, onAbort: () => void): Promise<T> {
  let listener: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    listener = () => {
      onAbort();
      reject(new AbortError(signal.reason));
    };
    signal.addEventListener("abort", listener, { once: true });
  });
  // The race may be lost by a forward that then fails by itself: nobody waits for it any more.
  promise.catch(() => undefined);
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    if (listener) signal.removeEventListener("abort", listener);
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
    if (aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
    promise
      .finally(() => signal.removeEventListener("abort", abort))
      .then((value) => (aborted ? free(value) : resolve(value)), reject);
  });
}
