import { resolve } from "node:path";
import { InvalidArgumentError } from "../errors.js";
import { checkBoolean, checkFunction, checkPath, checkSignal, unexpected } from "../validate.js";
import { cleanToken, type HubEnvironment, readEnvironment } from "./environment.js";
import { checkEndpoint, checkRevision } from "./repository.js";

/** How far a download is. */
export interface DownloadProgress {
  /** Files that are in place, of `files`. */
  readonly filesDone: number;
  readonly files: number;
  /** Bytes that are here, those found in the cache included, of `bytes`. */
  readonly bytesDone: number;
  readonly bytes: number;
  /** Bytes a second that came over the network since the download began. */
  readonly rate: number;
}

/** Options of everything that may come from the hub. They change nothing where a folder is named. */
export interface HubOptions {
  /** A branch, a tag or a commit; default `"main"`. */
  revision?: string;
  /** An access token; `true`: the one of the environment must exist; `false`: none is sent. Default: the environment's, if there is one. */
  token?: string | boolean;
  /** The cache's folder; default `HF_HUB_CACHE`, else `hub` in `HF_HOME`, as for Python. */
  cacheDir?: string | URL;
  /** Send no request, take what the cache holds; default: whether `HF_HUB_OFFLINE` is set. */
  localFilesOnly?: boolean;
  /** Download again what the cache holds; default false. */
  forceDownload?: boolean;
  /** The hub's address; default `HF_ENDPOINT`, else `"https://huggingface.co"`. */
  endpoint?: string;
  /** Stops the download; what has come is kept for the next one. */
  signal?: AbortSignal;
  /** Called as files come. */
  onProgress?: (progress: DownloadProgress) => void;
}

/** The names of {@link HubOptions}. */
export const HUB_OPTIONS = [
  "revision",
  "token",
  "cacheDir",
  "localFilesOnly",
  "forceDownload",
  "endpoint",
  "signal",
  "onProgress",
] as const satisfies readonly (keyof HubOptions)[];

/** {@link HubOptions}, checked and completed from the environment. */
export interface HubSettings extends Omit<HubEnvironment, "implicitToken" | "offline"> {
  readonly revision: string;
  readonly localFilesOnly: boolean;
  readonly forceDownload: boolean;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: DownloadProgress) => void) | undefined;
  /** Milliseconds before the first repetition; doubled each time. */
  readonly retryDelay: number;
}

/** Take the options of the hub out of those of a call. */
export function splitHubOptions<T extends HubOptions>(options: T): [hub: HubOptions, rest: Omit<T, keyof HubOptions>] {
  const isHub = ([name]: [string, unknown]): boolean => (HUB_OPTIONS as readonly string[]).includes(name);
  const entries = Object.entries(options) as [string, unknown][];
  const rest = Object.fromEntries(entries.filter((entry) => !isHub(entry))) as Omit<T, keyof HubOptions>;
  return [Object.fromEntries(entries.filter(isHub)), rest];
}

/**
 * Check the options of the hub and complete them from the environment.
 * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for a wrong option or variable, two that exclude each other, or `token: true` without a token
 */
export function checkHubOptions(options: HubOptions, environment?: HubEnvironment): HubSettings {
  const { revision, cacheDir, localFilesOnly, forceDownload, endpoint } = options;
  if (localFilesOnly !== undefined) checkBoolean(localFilesOnly, "localFilesOnly");
  if (forceDownload !== undefined) checkBoolean(forceDownload, "forceDownload");
  const known = environment ?? readEnvironment();
  const settings: HubSettings = {
    ...known,
    revision: revision === undefined ? "main" : checkRevision(revision, "revision"),
    token: chooseToken(options.token, known),
    cacheDir: resolve(cacheDir === undefined ? known.cacheDir : checkPath(cacheDir, "cacheDir")),
    localFilesOnly: localFilesOnly ?? known.offline,
    forceDownload: forceDownload ?? false,
    endpoint: endpoint === undefined ? known.endpoint : checkEndpoint(endpoint, "endpoint"),
    signal: checkSignal(options.signal, "signal"),
    onProgress: checkFunction(options.onProgress, "onProgress"),
    retryDelay: 1000,
  };
  if (settings.forceDownload && settings.localFilesOnly)
    throw new InvalidArgumentError("Expected only one of forceDownload and localFilesOnly (or HF_HUB_OFFLINE)");
  return settings;
}

function chooseToken(token: unknown, environment: HubEnvironment): string | undefined {
  if (token === false) return undefined;
  if (token === undefined) return environment.implicitToken ? environment.token : undefined;
  if (token === true) {
    if (environment.token !== undefined) return environment.token;
    throw new InvalidArgumentError(
      "token: true asks for a token, but HF_TOKEN is not set and no token file exists; run `hf auth login`",
    );
  }
  const cleaned = typeof token === "string" ? cleanToken(token) : undefined;
  // The value itself is a secret: the message must not show it.
  if (cleaned === undefined || !/^[\x21-\x7e]+$/.test(cleaned)) {
    if (typeof token === "string")
      throw new InvalidArgumentError("Expected an access token of the hub for token but received another string");
    throw unexpected("an access token or a boolean", "token", token);
  }
  return cleaned;
}
