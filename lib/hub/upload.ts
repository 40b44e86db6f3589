import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdtemp, open, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { json as readJson } from "node:stream/consumers";
import { LatentDiffusionError } from "../errors.js";
import { raiseIo } from "../files/atomic-file.js";
import { isPlainObject } from "../validate.js";
import type { HubSettings } from "./options.js";
import { refuseFailure } from "./refusal.js";
import { discard, type HubRequest, type HubResponse, hideQuery, request } from "./request.js";
import { withRetries } from "./retry.js";

/** Bytes of a file by which the hub decides how it is stored. */
const SAMPLE_BYTES = 512;
/** A part of a large file may take so long, in milliseconds. */
const UPLOAD_TIMEOUT = 300_000;
const LFS_HEADERS = { accept: "application/vnd.git-lfs+json", "content-type": "application/vnd.git-lfs+json" };
const JSON_HEADERS = { "content-type": "application/json" };

/** What to upload. */
export interface UploadRequest {
  readonly id: string;
  readonly folder: string;
  /** Of a repository that is made; undefined: as the hub does. */
  readonly isPrivate: boolean | undefined;
  readonly message: string;
}

/** A commit on the hub. */
export interface PushedCommit {
  /** Its hash. */
  readonly commit: string;
  /** Its page. */
  readonly url: string;
}

/** Do something with a folder that is removed afterwards. @throws LatentDiffusionError `ERR_IO`; what `work` throws */
export async function withTemporaryFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "latent-diffusion-")).catch(raiseIo("Cannot make a temporary folder"));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true }).catch(() => undefined);
  }
}

/** An upload in progress. */
interface Upload {
  readonly id: string;
  readonly settings: HubSettings;
}

interface LocalFile {
  readonly name: string;
  readonly path: string;
  readonly size: number;
}

interface LargeFile extends LocalFile {
  /** SHA-256 in hex. */
  readonly oid: string;
}

/**
 * Upload a folder's files to a repository in one commit; a repository that does not exist is made.
 * @throws AbortError; LatentDiffusionError `ERR_HUB_ACCESS_DENIED` without a token that may write, `ERR_HUB_NOT_FOUND`, `ERR_HUB_UNAVAILABLE`
 * @see huggingface_hub.HfApi.create_repo, huggingface_hub.HfApi.create_commit
 */
export async function uploadFolder(
  { id, folder, isPrivate, message }: UploadRequest,
  settings: HubSettings,
): Promise<PushedCommit> {
  if (settings.token === undefined)
    throw new LatentDiffusionError(
      "ERR_HUB_ACCESS_DENIED",
      `Uploading to ${id} needs a token that may write: pass token, set HF_TOKEN, or run \`hf auth login\``,
    );
  const upload: Upload = { id, settings };
  await ensureRepository(upload, isPrivate);
  const files = await listFiles(folder);
  const modes = await askModes(upload, files);
  const large: LargeFile[] = [];
  for (const file of files) if (modes.get(file.name) === "lfs") large.push({ ...file, oid: await hashFile(file.path) });
  await uploadLarge(upload, large);
  const small = files.filter(({ name }) => modes.get(name) === "regular");
  return sendCommit(upload, message, { small, large });
}

async function listFiles(folder: string): Promise<LocalFile[]> {
  const names = await readdir(folder, { recursive: true });
  const files: LocalFile[] = [];
  for (const name of names.sort()) {
    const path = join(folder, name);
    const found = await stat(path);
    if (found.isFile()) files.push({ name: name.replaceAll("\\", "/"), path, size: found.size });
  }
  return files;
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) hash.update(chunk);
  return hash.digest("hex");
}

/** Ask first, since a token may write to a repository and make none. */
async function ensureRepository({ id, settings }: Upload, isPrivate: boolean | undefined): Promise<void> {
  const { endpoint, requestTimeout: timeout } = settings;
  const found = await request({ url: `${endpoint}/api/models/${id}`, timeout }, settings);
  discard(found.body);
  if (found.status === 200) return;
  const [organization, name] = id.split("/");
  const visibility = isPrivate === undefined ? {} : { visibility: isPrivate ? "private" : "public" };
  const body = JSON.stringify({ name, organization, ...visibility });
  const asked = { url: `${endpoint}/api/repos/create`, method: "POST", headers: JSON_HEADERS, body, timeout } as const;
  const made = await request(asked, settings);
  // Another process may have made it meanwhile.
  if (made.status !== 409) refuseWriting(made, id, settings);
  discard(made.body);
}

/** Ask how the hub stores each file: in git, or beside it. Files that its `.gitignore` names are left out. */
async function askModes(upload: Upload, files: readonly LocalFile[]): Promise<ReadonlyMap<string, string>> {
  const described = await Promise.all(
    files.map(async ({ name, path, size }) => ({ path: name, sample: await readSample(path), size })),
  );
  const { id, settings } = upload;
  const url = `${settings.endpoint}/api/models/${id}/preupload/${encodeURIComponent(settings.revision)}`;
  const answer = await ask(upload, url, JSON_HEADERS, { files: described });
  if (!Array.isArray(answer.files)) throw malformed(url);
  const modes = new Map<string, string>();
  for (const entry of answer.files as unknown[]) {
    const { path, uploadMode, shouldIgnore } = isPlainObject(entry) ? entry : {};
    if (typeof path !== "string" || (uploadMode !== "lfs" && uploadMode !== "regular")) throw malformed(url);
    if (shouldIgnore !== true) modes.set(path, uploadMode);
  }
  return modes;
}

async function readSample(path: string): Promise<string> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(SAMPLE_BYTES), 0, SAMPLE_BYTES, 0);
    return buffer.toString("base64", 0, bytesRead);
  } finally {
    await file.close();
  }
}

async function uploadLarge(upload: Upload, files: readonly LargeFile[]): Promise<void> {
  if (files.length === 0) return;
  const { id, settings } = upload;
  const url = `${settings.endpoint}/${id}.git/info/lfs/objects/batch`;
  const answer = await ask(upload, url, LFS_HEADERS, {
    operation: "upload",
    transfers: ["basic", "multipart"],
    objects: files.map(({ oid, size }) => ({ oid, size })),
    hash_algo: "sha256",
    ref: { name: settings.revision },
  });
  if (!Array.isArray(answer.objects)) throw malformed(url);
  for (const file of files) {
    const entry = (answer.objects as unknown[]).find((one) => isPlainObject(one) && one.oid === file.oid);
    await uploadOne(upload, file, isPlainObject(entry) ? entry : {}, url);
  }
}

async function uploadOne(upload: Upload, file: LargeFile, entry: Record<string, unknown>, url: string): Promise<void> {
  if (entry.oid === undefined) throw malformed(url);
  if (isPlainObject(entry.error))
    throw new LatentDiffusionError(
      "ERR_HUB_ACCESS_DENIED",
      `The hub does not take ${upload.id}/${file.name}: ${String(entry.error.message)}`,
    );
  // The hub has these bytes already.
  if (!isPlainObject(entry.actions)) return;
  const { href, header } = isPlainObject(entry.actions.upload) ? entry.actions.upload : {};
  if (typeof href !== "string") throw malformed(url);
  const { chunk_size: chunkSize, ...parts } = isPlainObject(header) ? header : {};
  if (chunkSize === undefined) await putPart(upload, file, href, [0, file.size]);
  else await uploadParts(upload, file, { href, chunkSize: Number(chunkSize), parts });
  const verify = isPlainObject(entry.actions.verify) ? entry.actions.verify.href : undefined;
  if (typeof verify === "string") await ask(upload, verify, JSON_HEADERS, { oid: file.oid, size: file.size });
}

async function uploadParts(
  upload: Upload,
  file: LargeFile,
  { href, chunkSize, parts }: { href: string; chunkSize: number; parts: Readonly<Record<string, unknown>> },
): Promise<void> {
  const numbers = Object.keys(parts).filter((key) => /^\d+$/.test(key));
  const urls = numbers.sort((a, b) => Number(a) - Number(b)).map((key) => parts[key]);
  if (!(chunkSize > 0) || urls.length !== Math.ceil(file.size / chunkSize)) throw malformed(href);
  const done: { partNumber: number; etag: string }[] = [];
  for (const [i, url] of urls.entries()) {
    const range = [i * chunkSize, Math.min(file.size, (i + 1) * chunkSize)] as const;
    const etag = typeof url === "string" ? await putPart(upload, file, url, range) : undefined;
    if (etag === undefined) throw malformed(href);
    done.push({ partNumber: i + 1, etag });
  }
  await ask(upload, href, LFS_HEADERS, { oid: file.oid, parts: done });
}

/** Send bytes of a file. @returns the etag that the answer has */
async function putPart(
  { id, settings }: Upload,
  { path, name }: LargeFile,
  url: string,
  [start, end]: readonly [number, number],
): Promise<string | undefined> {
  return withRetries(settings, async () => {
    const body = end > start ? createReadStream(path, { start, end: end - 1 }) : "";
    const headers = { "content-length": String(end - start) };
    const response = await request({ url, method: "PUT", headers, body, timeout: UPLOAD_TIMEOUT }, settings);
    refuseFailure(response, { id, file: name }, settings);
    discard(response.body);
    return response.headers.etag;
  });
}

async function sendCommit(
  { id, settings }: Upload,
  message: string,
  { small, large }: { small: readonly LocalFile[]; large: readonly LargeFile[] },
): Promise<PushedCommit> {
  const lines: object[] = [{ key: "header", value: { summary: message, description: "" } }];
  for (const { name, path } of small) {
    const content = (await readFile(path)).toString("base64");
    lines.push({ key: "file", value: { content, path: name, encoding: "base64" } });
  }
  for (const { name, oid, size } of large)
    lines.push({ key: "lfsFile", value: { path: name, algo: "sha256", oid, size } });
  const url = `${settings.endpoint}/api/models/${id}/commit/${encodeURIComponent(settings.revision)}`;
  // Not sent twice: the first one may have arrived.
  const { commitOid, commitUrl } = await askOnce(
    { id, settings },
    {
      url,
      method: "POST",
      headers: { "content-type": "application/x-ndjson" },
      body: lines.map((line) => `${JSON.stringify(line)}\n`).join(""),
      timeout: UPLOAD_TIMEOUT,
    },
  );
  if (typeof commitOid !== "string" || typeof commitUrl !== "string") throw malformed(url);
  return { commit: commitOid, url: commitUrl };
}

async function ask(
  upload: Upload,
  url: string,
  headers: Readonly<Record<string, string>>,
  body: object,
): Promise<Record<string, unknown>> {
  const { settings } = upload;
  const timeout = settings.requestTimeout;
  return withRetries(settings, () =>
    askOnce(upload, { url, method: "POST", headers, body: JSON.stringify(body), timeout }),
  );
}

/** Send a question; an empty answer is an empty object. */
async function askOnce({ id, settings }: Upload, asked: HubRequest): Promise<Record<string, unknown>> {
  const response = refuseWriting(await request(asked, settings), id, settings);
  const value: unknown = await readJson(response.body).catch(() => ({}));
  if (!isPlainObject(value)) throw malformed(asked.url);
  return value;
}

function refuseWriting(response: HubResponse, id: string, settings: HubSettings): HubResponse {
  const { status, url } = response;
  if (status !== 401 && status !== 403) return refuseFailure(response, { id }, settings);
  discard(response.body);
  throw new LatentDiffusionError(
    "ERR_HUB_ACCESS_DENIED",
    `The hub does not let this token write to ${id} (${hideQuery(url)} answered ${status}): make one with write access at ${settings.endpoint}/settings/tokens`,
  );
}

function malformed(url: string): LatentDiffusionError {
  return new LatentDiffusionError(
    "ERR_HUB_UNAVAILABLE",
    `${hideQuery(url)} did not answer as a hub does; check HF_ENDPOINT`,
  );
}
