import { createHash, type Hash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, lstat, open, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { LatentDiffusionError } from "../errors.js";
import { raiseIo } from "../files/atomic-file.js";
import type { HubSettings } from "./options.js";
import { refuseFailure } from "./refusal.js";
import type { RepositoryFile } from "./repository-info.js";
import { discard, type HubResponse, hideQuery, networkError, request, TemporaryError } from "./request.js";
import { withRetries } from "./retry.js";

/** A file to be downloaded. */
export interface BlobTask {
  readonly id: string;
  readonly commit: string;
  readonly file: RepositoryFile;
  /** Where it goes. */
  readonly path: string;
  /** Whether nobody else downloads it, so that what a dead process left may be continued. */
  readonly isLocked: boolean;
  /** Told how many bytes came, negative for those that were thrown away; `isNew`: over the network. */
  readonly onBytes: (count: number, isNew: boolean) => void;
}

/**
 * Download one file, or the rest of it, and put it in place when size and hash are right and it is on the disk.
 * @throws AbortError, what has come is kept; LatentDiffusionError `ERR_DOWNLOAD_FAILED` for bytes that are not the file's, `ERR_IO` where they
 *   cannot be written, and as {@link refuseFailure}
 */
export async function downloadBlob(task: BlobTask, settings: HubSettings): Promise<void> {
  const partial = await openPartial(task, settings);
  try {
    await withRetries(settings, (progressed) => receiveRest(partial, progressed));
    await finish(partial);
  } catch (error) {
    await partial.handle.close().catch(() => undefined);
    // Bytes that are known to be wrong, or none, are of no use to the next try.
    if (partial.size === 0 || (error as LatentDiffusionError).code === "ERR_DOWNLOAD_FAILED")
      await rm(partial.path, { force: true }).catch(() => undefined);
    throw error;
  }
}

/** A file on its way. */
interface Partial {
  readonly task: BlobTask;
  readonly settings: HubSettings;
  readonly path: string;
  readonly handle: FileHandle;
  /** Of the bytes that are here. */
  hash: Hash;
  size: number;
}

async function openPartial(task: BlobTask, settings: HubSettings): Promise<Partial> {
  // Unique, as Python's: two downloads never write to one file, even where locks do not work.
  const path = `${task.path}.${randomBytes(4).toString("hex")}.incomplete`;
  const fail = raiseWrite(task, path);
  const left = task.isLocked ? await findLeft(task) : undefined;
  const isTaken = left !== undefined && (await succeeds(rename(left, path)));
  const handle = await open(path, isTaken ? "r+" : "w+").catch(fail);
  const partial: Partial = { task, settings, path, handle, hash: startHash(task.file), size: 0 };
  if (isTaken) await readTaken(partial).catch(fail);
  return partial;
}

/** Hash what a dead process left. */
async function readTaken(partial: Partial): Promise<void> {
  for await (const chunk of createReadStream(partial.path) as AsyncIterable<Buffer>) {
    partial.hash.update(chunk);
    partial.size += chunk.length;
  }
  partial.task.onBytes(partial.size, false);
}

async function succeeds(work: Promise<void>): Promise<boolean> {
  return work.then(
    () => true,
    () => false,
  );
}

/** Find the longest piece that a process left when it died; remove the others. */
async function findLeft({ path, file }: BlobTask): Promise<string | undefined> {
  const prefix = `${basename(path)}.`;
  const names = await readdir(dirname(path)).catch((): string[] => []);
  let best: { path: string; size: number } | undefined;
  for (const name of names.filter((known) => known.startsWith(prefix) && known.endsWith(".incomplete"))) {
    const candidate = join(dirname(path), name);
    const found = await lstat(candidate).catch(() => undefined);
    const usable = found?.isFile() === true && found.size > (best?.size ?? 0) && found.size <= file.size;
    if (best !== undefined && usable) await rm(best.path, { force: true }).catch(() => undefined);
    if (usable) best = { path: candidate, size: found.size };
    else await rm(candidate, { force: true }).catch(() => undefined);
  }
  return best?.path;
}

async function receiveRest(partial: Partial, progressed: () => void): Promise<void> {
  const { task, settings } = partial;
  const { id, commit, file } = task;
  if (partial.size === file.size) return verify(partial);
  const name = file.name.split("/").map(encodeURIComponent).join("/");
  const url = `${settings.endpoint}/${id}/resolve/${commit}/${name}`;
  const range: Record<string, string> = partial.size > 0 ? { range: `bytes=${partial.size}-` } : {};
  const response = await request({ url, headers: range, timeout: settings.downloadTimeout }, settings);
  if (response.status === 416) {
    discard(response.body);
    await restart(partial);
    throw new TemporaryError(`${hideQuery(response.url)} does not have the rest of ${file.name}`);
  }
  refuseFailure(response, { id, file: file.name }, settings);
  await checkAnswer(response, partial);
  await receive(response, partial, progressed);
  if (partial.size < file.size)
    throw new TemporaryError(
      `${hideQuery(response.url)} ended after ${partial.size} of ${file.size} bytes of ${file.name}`,
    );
  await verify(partial);
}

/** Check what kind of answer this is before any byte is written: the rest, the whole from the start, or another thing. */
async function checkAnswer(response: HubResponse, partial: Partial): Promise<void> {
  const { file, id } = partial.task;
  const { headers, hubHeaders, status, body, url } = response;
  const refuse = (error: LatentDiffusionError): never => {
    discard(body);
    throw error;
  };
  const encoding = headers["content-encoding"] ?? "identity";
  if (encoding !== "identity")
    refuse(failed(partial.task, `it came compressed (${encoding}) though that was not asked for; a proxy may do this`));
  const linked = (hubHeaders["x-linked-etag"] ?? (response.fromHub ? headers.etag : undefined))
    ?.replace(/^W\//, "")
    .replace(/"/g, "");
  if (linked !== undefined && /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(linked) && linked !== file.etag)
    refuse(failed(partial.task, `the hub lists the hash ${file.etag} and sends ${linked}`));
  const start = status === 206 ? /^bytes (\d+)-/.exec(headers["content-range"] ?? "")?.[1] : "0";
  const length = headers["content-length"];
  const isPage = /^text\/html/i.test(headers["content-type"] ?? "") && !/\.html?$/i.test(file.name);
  if (isPage && (length === undefined || Number(length) !== file.size - Number(start)))
    refuse(
      new LatentDiffusionError(
        "ERR_HUB_UNAVAILABLE",
        `${hideQuery(url)} answered with an HTML page for ${id}/${file.name}: a network's login page, or a proxy, answers in its place; open it in a browser`,
      ),
    );
  // A server may ignore the range and send all of it: then all of it is taken.
  if (start !== String(partial.size)) await restart(partial);
  if (start !== String(partial.size))
    refuse(new TemporaryError(`${hideQuery(url)} sent another part of ${file.name} than was asked for`));
}

async function receive(response: HubResponse, partial: Partial, progressed: () => void): Promise<void> {
  const { task, settings, handle } = partial;
  try {
    for await (const chunk of response.body as AsyncIterable<Buffer>) {
      if (partial.size + chunk.length > task.file.size)
        throw failed(task, `more bytes come than its ${task.file.size}`);
      await write(handle, chunk, partial.size).catch(raiseWrite(task, partial.path));
      partial.hash.update(chunk);
      partial.size += chunk.length;
      task.onBytes(chunk.length, true);
      progressed();
    }
  } catch (cause) {
    throw networkError(cause, response.url, settings);
  } finally {
    discard(response.body);
  }
}

async function write(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    done += (await handle.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
  }
}

async function verify(partial: Partial): Promise<void> {
  const { task } = partial;
  const found = partial.hash.copy().digest("hex");
  if (found === task.file.etag) return;
  const hadLeftovers = partial.size > 0 && !verified.has(partial);
  verified.add(partial);
  await restart(partial);
  // What was left by another process may be wrong; so may one answer. The second time it is the server.
  if (hadLeftovers) throw new TemporaryError(`The bytes of ${task.file.name} do not have the hash ${task.file.etag}`);
  throw failed(
    task,
    `its bytes have the hash ${found}, not ${task.file.etag}; a proxy may change them, or the repository is damaged`,
  );
}

/** Files whose hash was wrong once. */
const verified = new WeakSet<Partial>();

async function restart(partial: Partial): Promise<void> {
  partial.task.onBytes(-partial.size, false);
  partial.size = 0;
  partial.hash = startHash(partial.task.file);
  await partial.handle.truncate(0).catch(raiseWrite(partial.task, partial.path));
}

async function finish({ task, handle, path, size }: Partial): Promise<void> {
  const fail = raiseWrite(task, task.path);
  await handle.truncate(size).catch(fail);
  await handle.sync().catch(fail);
  await handle.close();
  await rename(path, task.path).catch(async (cause: unknown) => {
    // On Windows a file that is open elsewhere is not replaced; it has the same bytes.
    const there = await stat(task.path).catch(() => undefined);
    if (there?.size !== task.file.size) fail(cause);
    await rm(path, { force: true });
  });
}

function startHash({ etag, size }: RepositoryFile): Hash {
  return etag.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
}

function failed({ id, file }: BlobTask, what: string): LatentDiffusionError {
  return new LatentDiffusionError("ERR_DOWNLOAD_FAILED", `${id}/${file.name} was not downloaded: ${what}`);
}

function raiseWrite({ file, id }: BlobTask, path: string): (cause: unknown) => never {
  return (cause) => {
    const isFull = ["ENOSPC", "EDQUOT"].includes((cause as NodeJS.ErrnoException).code ?? "");
    const advice = isFull
      ? ` (the disk is full: ${file.size} bytes are needed; free some, or set cacheDir or HF_HUB_CACHE)`
      : "";
    return raiseIo(`Cannot write ${id}/${file.name} to ${path}${advice}`)(cause);
  };
}
