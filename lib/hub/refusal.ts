import { LatentDiffusionError } from "../errors.js";
import { shorten } from "../validate.js";
import type { HubSettings } from "./options.js";
import { discard, type HubResponse, hideQuery, TemporaryError } from "./request.js";

/** What a request was about, for the message. */
export interface Subject {
  readonly id: string;
  /** A file of the repository; undefined for the repository itself. */
  readonly file?: string;
}

/**
 * Let an answer with a status of success through.
 * @throws LatentDiffusionError saying what to do: `ERR_HUB_NOT_FOUND` (repository, revision or file), `ERR_HUB_ACCESS_DENIED` (a token, or
 *   a gate), `ERR_HUB_UNAVAILABLE`
 * @see huggingface_hub.utils.hf_raise_for_status
 */
export function refuseFailure(response: HubResponse, subject: Subject, settings: HubSettings): HubResponse {
  if (response.status >= 200 && response.status < 300) return response;
  discard(response.body);
  throw failure(response, subject, settings);
}

function failure(response: HubResponse, subject: Subject, settings: HubSettings): LatentDiffusionError {
  const { status, headers, fromHub, url } = response;
  const detail = shorten((headers["x-error-message"] ?? "").replace(/[^\x20-\x7e]/g, " "), 200);
  const told = `${hideQuery(url)} answered ${status}${detail === "" ? "" : ` (${detail})`}`;
  if (status === 429 || status === 408 || status >= 500) {
    const advice = status === 429 ? "too many requests: try again later, or with a token" : "try again later";
    return new TemporaryError(`${told}; ${advice}`, { retryAfter: readRetryAfter(headers) });
  }
  // An address that another host was given runs out; asking the hub again brings a fresh one.
  if (!fromHub) return new TemporaryError(`${told}, the host that the hub sent us to`);
  const page = `${settings.endpoint}/${subject.id}`;
  const code = headers["x-error-code"];
  const hasToken = settings.token !== undefined;
  if (code === "GatedRepo") {
    const step = hasToken
      ? "with the account of the token"
      : "logged in, then pass a token (HF_TOKEN, or `hf auth login`)";
    return denied(`${subject.id} is gated: open ${page}, ask for access ${step}`);
  }
  if (status === 401 && (detail.startsWith("Invalid credentials") || detail.startsWith("Invalid username")))
    return denied(
      `The hub does not accept the token for ${subject.id}: make a new one at ${settings.endpoint}/settings/tokens`,
    );
  if (status === 403)
    return denied(
      `The hub refuses access to ${subject.id}: open ${page}; the token may lack the permission to read it (${told})`,
    );
  if (status === 401 || status === 404) return missing(subject, settings, code, status);
  return new LatentDiffusionError("ERR_HUB_UNAVAILABLE", `${told}; check the endpoint ${settings.endpoint}`);
}

function missing(
  { id, file }: Subject,
  { endpoint, revision, token }: HubSettings,
  code: string | undefined,
  status: number,
): LatentDiffusionError {
  const notFound = (message: string): LatentDiffusionError => new LatentDiffusionError("ERR_HUB_NOT_FOUND", message);
  if (code === "RevisionNotFound")
    return notFound(
      `The repository ${id} has no revision ${JSON.stringify(revision)}; ${endpoint}/${id}/tree/main lists its branches`,
    );
  if (code === "EntryNotFound" || (file !== undefined && code === undefined && status === 404))
    return notFound(`The repository ${id} has no file ${JSON.stringify(file ?? "")} in ${JSON.stringify(revision)}`);
  const advice =
    token === undefined
      ? "if it is private, pass a token (HF_TOKEN, or `hf auth login`)"
      : "if it is private, the token must belong to someone who may read it";
  return notFound(`There is no repository ${id} at ${endpoint}, or it is private: check its name; ${advice}`);
}

function denied(message: string): LatentDiffusionError {
  return new LatentDiffusionError("ERR_HUB_ACCESS_DENIED", message);
}

/** Read when to come back, in milliseconds: `Retry-After` in seconds or as a date, or the hub's own `ratelimit: "api";r=0;t=55`. */
function readRetryAfter(headers: HubResponse["headers"]): number | undefined {
  const after = headers["retry-after"];
  if (after !== undefined && /^\d{1,9}$/.test(after.trim())) return Number(after) * 1000;
  const date = after === undefined ? NaN : Date.parse(after);
  if (!Number.isNaN(date)) return Math.max(0, date - Date.now());
  const reset = /(?:^|;)\s*t=(\d{1,9})/.exec(headers.ratelimit ?? "")?.[1];
  return reset === undefined ? undefined : Number(reset) * 1000;
}
