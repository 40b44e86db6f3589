import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import { raiseIo } from "../../files/atomic-file.js";
import { checkHubOptions, type HubSettings } from "../../hub/options.js";
import { discard, type HubResponse, hideQuery, networkError, request, TemporaryError } from "../../hub/request.js";
import { withRetries } from "../../hub/retry.js";
import { throwIfAborted } from "../../errors.js";
import { CommandError } from "../failure.js";
import type { CudaWheel } from "./wheels.js";

/** A page of an index is a few MB at most. */
const PAGE_BYTES = 64 << 20;

/** What hashing and receiving tell; negative for bytes that were thrown away. */
type OnBytes = (count: number) => void;

/** The settings of requests to package indexes: those of the hub, without its token. */
export function downloadSettings(signal: AbortSignal): HubSettings {
  return checkHubOptions({ signal, token: false });
}

/**
 * Read a page of a package index.
 * @param accept the content types that are wanted
 * @returns its address after redirects, and its text; undefined where there is none (404)
 * @throws CommandError `ERR_DOWNLOAD_FAILED`; AbortError
 */
export async function fetchText(
  url: string,
  accept: string,
  settings: HubSettings,
): Promise<{ url: string; text: string } | undefined> {
  return withRetries(settings, async () => {
    const response = await ask(url, { accept }, settings);
    if (response.status === 404) {
      discard(response.body);
      return undefined;
    }
    refuseStatus(response);
    const chunks: Buffer[] = [];
    let length = 0;
    await receive(response, settings, (chunk) => {
      length += chunk.length;
      if (length > PAGE_BYTES) throw failed(url, `the page has more than ${PAGE_BYTES} bytes`);
      chunks.push(chunk);
    });
    return { url: response.url, text: Buffer.concat(chunks).toString("utf8") };
  });
}

/**
 * Download a wheel, or the rest of it, and put it in place when size and hash are right. The caller keeps other processes out. What has come
 * is kept beside it (`.incomplete`) when the download is broken off, and is continued the next time.
 * @param path where it goes
 * @throws CommandError `ERR_DOWNLOAD_FAILED`; LatentDiffusionError `ERR_IO`, `ERR_HUB_UNAVAILABLE`; AbortError
 */
export async function downloadWheel(
  wheel: CudaWheel,
  url: string,
  path: string,
  settings: HubSettings,
  onBytes: OnBytes,
): Promise<void> {
  const partial = `${path}.incomplete`;
  const file = await open(partial, "a+").catch(raiseIo(`Cannot write ${partial}`));
  const state: Partial = { wheel, file, path: partial, onBytes, hash: createHash("sha256"), size: 0 };
  try {
    await takeLeft(state);
    await withRetries(settings, (progressed) => receiveRest(state, url, settings, progressed));
    await file.sync();
  } finally {
    await file.close();
  }
  if (state.hash.digest("hex") !== wheel.sha256) {
    await rm(partial, { force: true });
    throw failed(url, `its bytes do not have the hash ${wheel.sha256}; it was removed`);
  }
  await rename(partial, path).catch(raiseIo(`Cannot write ${path}`));
}

/** A wheel on its way. */
interface Partial {
  readonly wheel: CudaWheel;
  readonly file: FileHandle;
  readonly path: string;
  readonly onBytes: OnBytes;
  hash: Hash;
  size: number;
}

/** Hash what an earlier run left. */
async function takeLeft(state: Partial): Promise<void> {
  const { size } = await state.file.stat();
  if (size > state.wheel.bytes) return restart(state);
  if (size > 0) await hashInto(state.path, (chunk) => take(state, chunk));
}

function take(state: Partial, chunk: Buffer): void {
  state.hash.update(chunk);
  state.size += chunk.length;
  state.onBytes(chunk.length);
}

async function restart(state: Partial): Promise<void> {
  state.onBytes(-state.size);
  state.size = 0;
  state.hash = createHash("sha256");
  await state.file.truncate(0).catch(raiseIo(`Cannot write ${state.path}`));
}

async function receiveRest(state: Partial, url: string, settings: HubSettings, progressed: () => void): Promise<void> {
  const { bytes } = state.wheel;
  if (state.size === bytes) return;
  const response = await ask(url, state.size > 0 ? { range: `bytes=${state.size}-` } : {}, settings);
  const isRest = response.status === 206 && response.headers["content-range"]?.startsWith(`bytes ${state.size}-`);
  // A server may send all of it, or refuse the range: then it begins anew.
  if (!isRest && state.size > 0) await restart(state);
  if (response.status === 416) {
    discard(response.body);
    throw new TemporaryError(`${hideQuery(url)} does not have the rest of ${state.wheel.file}`);
  }
  refuseStatus(response);
  await receive(response, settings, async (chunk) => {
    if (state.size + chunk.length > bytes) throw failed(url, `more than its ${bytes} bytes come`);
    await state.file.appendFile(chunk).catch(raiseIo(`Cannot write ${state.path}`));
    take(state, chunk);
    progressed();
  });
  if (state.size < bytes) throw new TemporaryError(`${hideQuery(url)} ended after ${state.size} of ${bytes} bytes`);
}

async function ask(url: string, headers: Record<string, string>, settings: HubSettings): Promise<HubResponse> {
  return request({ url, headers, timeout: settings.downloadTimeout }, settings);
}

async function receive(
  { body, url }: HubResponse,
  settings: HubSettings,
  use: (chunk: Buffer) => void | Promise<void>,
): Promise<void> {
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) await use(chunk);
  } catch (cause) {
    if (cause instanceof CommandError) throw cause;
    throw networkError(cause, url, settings);
  } finally {
    discard(body);
  }
}

function refuseStatus({ status, url, body }: HubResponse): void {
  if (status === 200 || status === 206) return;
  discard(body);
  if (status === 429 || status === 408 || status >= 500)
    throw new TemporaryError(`${hideQuery(url)} answered ${status}; try again later`);
  throw failed(url, `the server answered ${status}`);
}

/**
 * Check that a file is the wheel that it is called.
 * @param onBytes told of bytes as they are read
 * @returns whether size and hash are right
 */
export async function isWheel(
  wheel: CudaWheel,
  path: string,
  onBytes: OnBytes,
  signal?: AbortSignal,
): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  if (found?.size !== wheel.bytes) return false;
  const hash = createHash("sha256");
  await hashInto(path, (chunk) => {
    throwIfAborted(signal);
    hash.update(chunk);
    onBytes(chunk.length);
  });
  return hash.digest("hex") === wheel.sha256;
}

async function hashInto(path: string, use: (chunk: Buffer) => void): Promise<void> {
  const pieces = createReadStream(path, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>;
  for await (const chunk of pieces) use(chunk);
}

function failed(url: string, what: string): CommandError {
  return new CommandError(
    "ERR_DOWNLOAD_FAILED",
    `${hideQuery(url)} was not downloaded: ${what}`,
    "Check the address (`--url`), or download the wheels by other means and give their folder with `--from`.",
  );
}
