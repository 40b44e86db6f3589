import { InvalidArgumentError, LatentDiffusionError, type ErrorCode } from "./errors.js";

/** Remember where the caller stands, so that a later rejection can point there. */
export function captureCaller(caller: (...args: never[]) => unknown): { stack?: string } {
  const site: { stack?: string } = {};
  Error.captureStackTrace(site, caller);
  return site;
}

/**
 * Turn what the addon threw into this package's error. The addon sets `code`; whatever lacks one is passed on as it is.
 * @param site where the caller stood, for errors that were born on another thread and have no JavaScript stack
 */
export function translateNativeError(error: unknown, site?: { stack?: string }): unknown {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") return error;
  if (error instanceof LatentDiffusionError || error instanceof InvalidArgumentError) return error;
  const translated = translate(error.code as ErrorCode, error);
  const frames = (site ?? error).stack?.split("\n").filter((line) => /^ +at /.test(line)) ?? [];
  translated.stack = [`${translated.name}: ${translated.message}`, ...frames].join("\n");
  return translated;
}

function translate(code: ErrorCode, error: Error): Error {
  if (code === "ERR_INVALID_ARGUMENT") return new InvalidArgumentError(error.message);
  // The interpreter prints a whole TorchScript traceback, and what went wrong in its last line.
  const reason = /^The following operation failed in the TorchScript interpreter\.[^]*\n(?:\w+Error: )([^\n]+)\s*$/.exec(error.message)?.[1];
  return reason === undefined
    ? new LatentDiffusionError(code, error.message)
    : new LatentDiffusionError(code, reason, { cause: new Error(error.message) });
}
