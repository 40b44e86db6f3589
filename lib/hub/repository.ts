import { InvalidArgumentError, LatentDiffusionError } from "../errors.js";
import { quote, unexpected } from "../validate.js";

/**
 * Say whether a text has the form of a repository's id on the hub: `"owner/name"`, letters, digits, `-`, `_` and `.`.
 * @see huggingface_hub.utils.validate_repo_id
 */
export function isRepositoryId(text: string): boolean {
  if (text.length > 96 || text.endsWith(".git") || /--|\.\./.test(text)) return false;
  return /^[A-Za-z0-9_][\w.-]*\/[A-Za-z0-9_]([\w.-]*\w)?$/.test(text);
}

/**
 * Check the id of a repository.
 * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for anything else than `"owner/name"`
 */
export function checkRepositoryId(value: unknown, option: string): string {
  if (typeof value !== "string" || !isRepositoryId(value))
    throw unexpected('a repository of the hub, "owner/name",', option, value);
  return value;
}

/**
 * Check a revision: a branch, a tag, a commit or `"refs/pr/1"`. It becomes a path below `refs/` of the cache.
 * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for a name that git does not allow
 */
export function checkRevision(value: unknown, option: string): string {
  if (typeof value !== "string" || value.length > 250 || !isContainedPath(value) || /[\s~^?*[\]]/.test(value))
    throw unexpected("a branch, a tag or a commit", option, value);
  return value;
}

/** Say whether a revision is a full commit hash, which never moves. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/**
 * Check the name of a file in a repository before it becomes a path: names come from a server and are hostile.
 * @throws LatentDiffusionError `ERR_DOWNLOAD_FAILED` for a name that could lead out of the repository's folder
 */
export function checkFileName(name: string, id: string): string {
  if (isContainedPath(name)) return name;
  throw new LatentDiffusionError(
    "ERR_DOWNLOAD_FAILED",
    `${id} names the file ${quote(name)}, which could lead out of the cache; the repository is not to be trusted`,
  );
}

/** Relative, with forward slashes, no empty segment, no "." or "..", nothing that Windows reads as a drive, stream or device. */
function isContainedPath(path: string): boolean {
  if (path.length > 1024 || /[\\:\u0000-\u001f\u007f]/.test(path)) return false;
  return path.split("/").every((segment) => segment !== "" && !/[. ]$/.test(segment) && !isDevice(segment));
}

function isDevice(segment: string): boolean {
  return /^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)/i.test(segment);
}

/** The folder of a model repository in the cache. @see huggingface_hub.file_download.repo_folder_name */
export function repositoryFolder(id: string): string {
  return `models--${id.replaceAll("/", "--")}`;
}

/** Check the address of a hub. @returns it without a slash at the end */
export function checkEndpoint(value: unknown, option: string): string {
  const url = typeof value === "string" && URL.canParse(value) ? new URL(value) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol))
    throw unexpected("the http(s) address of a hub", option, value);
  if (url.username !== "" || url.password !== "")
    throw new InvalidArgumentError(
      `Expected an address without a user or password for ${option}; pass a token instead`,
    );
  return url.href.replace(/\/+$/, "");
}
