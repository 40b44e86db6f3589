import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { InvalidArgumentError } from "../errors.js";
import { quote } from "../validate.js";
import { checkEndpoint } from "./repository.js";

const DEFAULT_ENDPOINT = "https://huggingface.co";
const DEFAULT_TIMEOUT_SECONDS = 10;

/** What the environment says about the hub. */
export interface HubEnvironment {
  /** The cache that Python shares: `HF_HUB_CACHE`, else `hub` in `HF_HOME`. */
  readonly cacheDir: string;
  readonly endpoint: string;
  /** From `HF_TOKEN` or the token file; undefined where there is none. */
  readonly token: string | undefined;
  /** Whether the token is sent without being asked for: not with `HF_HUB_DISABLE_IMPLICIT_TOKEN`. */
  readonly implicitToken: boolean;
  /** `HF_HUB_OFFLINE`: no request is sent. */
  readonly offline: boolean;
  /** Milliseconds until an answer about a repository begins. */
  readonly requestTimeout: number;
  /** Milliseconds without a byte of a file. */
  readonly downloadTimeout: number;
  /** Whether snapshots may be symbolic links: not with `HF_HUB_DISABLE_SYMLINKS`. */
  readonly symlinks: boolean;
}

type Variables = Readonly<Record<string, string | undefined>>;

/**
 * Read the variables that Python's client honours, each time anew. An empty variable counts as not set.
 * @param variables of the process, or a test's
 * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` naming a variable whose value makes no sense
 * @see huggingface_hub.constants
 */
export function readEnvironment(variables: Variables = process.env): HubEnvironment {
  const read = (...names: string[]): string | undefined =>
    names.map((name) => variables[name]).find((value) => value !== undefined && value !== "");
  const path = (value: string): string => expand(value, variables);
  const home = path(read("HF_HOME") ?? join(read("XDG_CACHE_HOME") ?? join(homedir(), ".cache"), "huggingface"));
  const tokenPath = path(read("HF_TOKEN_PATH") ?? join(home, "token"));
  return {
    cacheDir: path(read("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") ?? join(home, "hub")),
    endpoint: checkEndpoint(read("HF_ENDPOINT") ?? DEFAULT_ENDPOINT, "HF_ENDPOINT"),
    token: cleanToken(read("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")) ?? readToken(tokenPath),
    implicitToken: !isTrue(read("HF_HUB_DISABLE_IMPLICIT_TOKEN")),
    offline: isTrue(read("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")),
    requestTimeout: milliseconds("HF_HUB_ETAG_TIMEOUT", read("HF_HUB_ETAG_TIMEOUT")),
    downloadTimeout: milliseconds("HF_HUB_DOWNLOAD_TIMEOUT", read("HF_HUB_DOWNLOAD_TIMEOUT")),
    symlinks: !isTrue(read("HF_HUB_DISABLE_SYMLINKS")),
  };
}

/** Take the blanks and line ends off a token; nothing is left of an empty one. */
export function cleanToken(token: string | undefined): string | undefined {
  const cleaned = token?.replace(/[\r\n]/g, "").trim();
  return cleaned === "" ? undefined : cleaned;
}

function readToken(path: string): string | undefined {
  try {
    return cleanToken(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}

function isTrue(value: string | undefined): boolean {
  return value !== undefined && ["1", "ON", "YES", "TRUE"].includes(value.toUpperCase());
}

function milliseconds(name: string, value: string | undefined): number {
  if (value !== undefined && !/^\s*\d{1,6}\s*$/.test(value))
    throw new InvalidArgumentError(`Expected a whole number of seconds for ${name} but received ${quote(value)}`);
  // As in Python, 0 means the default.
  return (Number(value ?? 0) || DEFAULT_TIMEOUT_SECONDS) * 1000;
}

/** Replace a leading `~` and `$NAME` or `${NAME}`, as Python's expanduser and expandvars do; unknown names stay. */
function expand(path: string, variables: Variables): string {
  const home = path === "~" || /^~[/\\]/.test(path) ? homedir() + path.slice(1) : path;
  return home.replace(/\$(?:\{(\w+)\}|(\w+))/g, (whole, braced?: string, bare?: string) => {
    return variables[braced ?? bare ?? ""] ?? whole;
  });
}
