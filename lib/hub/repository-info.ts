import { text } from "node:stream/consumers";
import { LatentDiffusionError } from "../errors.js";
import { isPlainObject } from "../validate.js";
import type { HubSettings } from "./options.js";
import { refuseFailure } from "./refusal.js";
import { checkFileName, isCommit } from "./repository.js";
import { hideQuery, networkError, request } from "./request.js";
import { withRetries } from "./retry.js";

/** A file of a repository, by its content. */
export interface RepositoryFile {
  readonly name: string;
  readonly size: number;
  /** 64 hex digits: the SHA-256 of the content (large files). 40: git's hash of it. The blob's name in the cache. */
  readonly etag: string;
  /** Git's hash of what the repository holds: of a large file, its pointer. */
  readonly blobId: string;
}

/** What a revision stands for. */
export interface RepositoryInfo {
  readonly commit: string;
  readonly files: ReadonlyMap<string, RepositoryFile>;
}

/**
 * Ask the hub for the commit of a revision and its files.
 * @throws LatentDiffusionError `ERR_HUB_NOT_FOUND`, `ERR_HUB_ACCESS_DENIED`, `ERR_HUB_UNAVAILABLE`, also for an answer that is not the hub's;
 *   `ERR_DOWNLOAD_FAILED` for names that could lead out of the cache
 */
export async function fetchRepositoryInfo(id: string, settings: HubSettings): Promise<RepositoryInfo> {
  const url = `${settings.endpoint}/api/models/${id}/revision/${encodeURIComponent(settings.revision)}?blobs=true`;
  const body = await withRetries(settings, async () => {
    const response = await request({ url, timeout: settings.requestTimeout }, settings);
    refuseFailure(response, { id }, settings);
    return text(response.body).catch((cause: unknown) => {
      throw networkError(cause, url, settings);
    });
  });
  return parseInfo(body, id, url);
}

function parseInfo(body: string, id: string, url: string): RepositoryInfo {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch (cause) {
    const isPage = /^\s*</.test(body);
    const what = isPage
      ? "an HTML page: a network's login page, or a proxy, answers in its place"
      : "something that is not JSON";
    throw new LatentDiffusionError(
      "ERR_HUB_UNAVAILABLE",
      `${hideQuery(url)} answered with ${what}; open it in a browser`,
      { cause },
    );
  }
  const { sha, siblings } = isPlainObject(value) ? value : {};
  if (typeof sha !== "string" || !isCommit(sha) || !Array.isArray(siblings)) throw unknownAnswer(url);
  const files = (siblings as unknown[]).map((entry) => parseFile(entry, id, url));
  return { commit: sha, files: new Map(files.map((file) => [file.name, file])) };
}

function parseFile(entry: unknown, id: string, url: string): RepositoryFile {
  const { rfilename: name, size, blobId, lfs } = isPlainObject(entry) ? entry : {};
  if (typeof name !== "string") throw unknownAnswer(url);
  const large = isPlainObject(lfs) ? lfs : undefined;
  const file = { name: checkFileName(name, id), size: large?.size ?? size, etag: large?.sha256 ?? blobId, blobId };
  const isSize = typeof file.size === "number" && Number.isSafeInteger(file.size) && file.size >= 0;
  if (!isSize || !isHash(file.etag) || !isHash(file.blobId)) throw unknownAnswer(url);
  return file as RepositoryFile;
}

function isHash(value: unknown): boolean {
  return typeof value === "string" && /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(value);
}

function unknownAnswer(url: string): LatentDiffusionError {
  return new LatentDiffusionError(
    "ERR_HUB_UNAVAILABLE",
    `${hideQuery(url)} did not answer as a hub does (a commit, and each file's name, size and hash); check HF_ENDPOINT`,
  );
}
