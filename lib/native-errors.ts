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
  const translated = error.code === "ERR_INVALID_ARGUMENT"
    ? new InvalidArgumentError(error.message)
    : new LatentDiffusionError(error.code as ErrorCode, error.message);
  const frames = (site ?? error).stack?.split("\n").slice(1).join("\n");
  translated.stack = `${translated.name}: ${translated.message}${frames ? `\n${frames}` : ""}`;
  return translated;
}
