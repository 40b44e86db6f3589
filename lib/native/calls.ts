import { types } from "node:util";
import { AbortError, InvalidArgumentError, LatentDiffusionError, type ErrorCode } from "../errors.js";

/** Remember where the caller stands, so that a later rejection can point there. */
export function captureCaller(caller: (...args: never[]) => unknown): { stack?: string } {
  const site: { stack?: string } = {};
  Error.captureStackTrace(site, caller);
  return site;
}

/**
 * Turn what the addon threw into this package's error. The addon sets `code`; whatever lacks one is passed on as it is.
 * @param site where the caller stood: an error that was born on another thread has no JavaScript stack, and the way within this package
 *   is of no use to its users
 */
export function translateNativeError(error: unknown, site: { stack?: string }): unknown {
  if (isOwn(error)) return anchorError(error, site);
  // In Jest the addon's errors are of another realm than this module.
  if (!types.isNativeError(error) || !("code" in error) || typeof error.code !== "string") return error;
  return anchorError(translate(error.code as ErrorCode, error), site);
}

/** Let the stack of one of this package's errors start where the caller stood: V8 keeps ten frames, and work can be deeper. Others stay. */
export function anchorError<T>(error: T, site: { stack?: string }): T {
  if (!isOwn(error)) return error;
  const frames = site.stack?.split("\n").filter((line) => /^ +at /.test(line)) ?? [];
  if (frames.length > 0) error.stack = [`${error.name}: ${error.message}`, ...frames].join("\n");
  return error;
}

function isOwn(error: unknown): error is LatentDiffusionError | InvalidArgumentError | AbortError {
  return error instanceof LatentDiffusionError || error instanceof InvalidArgumentError || error instanceof AbortError;
}

function translate(code: ErrorCode, error: Error): Error {
  if (code === "ERR_INVALID_ARGUMENT") return new InvalidArgumentError(error.message);
  // The interpreter prints a whole TorchScript traceback, and what went wrong in its last line.
  const reason =
    /^The following operation failed in the TorchScript interpreter\.[^]*\n(?:\w+Error: )([^\n]+)\s*$/.exec(
      error.message,
    )?.[1];
  return reason === undefined
    ? new LatentDiffusionError(code, error.message)
    : new LatentDiffusionError(code, reason, { cause: new Error(error.message) });
}

/**
 * Call an export that promises, and await it; what it throws, at once or later, becomes this package's error with the stack of
 * `caller`'s caller.
 */
export async function settle<T>(call: () => Promise<T>, caller: (...args: never[]) => unknown): Promise<T> {
  const site = captureCaller(caller);
  try {
    return await call();
  } catch (error) {
    throw translateNativeError(error, site);
  }
}

/** Call a synchronous export; what it throws becomes this package's error with the stack of `caller`'s caller. */
export function run<T>(call: () => T, caller: (...args: never[]) => unknown): T {
  try {
    return call();
  } catch (error) {
    throw translateNativeError(error, captureCaller(caller));
  }
}
