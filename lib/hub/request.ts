import type { Readable } from "node:stream";
import type { Dispatcher } from "undici";
import { LatentDiffusionError, throwIfAborted } from "../errors.js";
import type { HubSettings } from "./options.js";
import { proxyFor } from "./proxy.js";

/** More redirects than this are a loop. */
const MOST_REDIRECTS = 8;

/** A failure that another try may not meet: the network, a busy server. */
export class TemporaryError extends LatentDiffusionError {
  /** Milliseconds that the server asks to wait. */
  readonly retryAfter: number | undefined;

  constructor(message: string, { retryAfter, ...options }: ErrorOptions & { retryAfter?: number } = {}) {
    super("ERR_HUB_UNAVAILABLE", message, options);
    this.retryAfter = retryAfter;
  }
}

/** What a server answered; the body must be read or destroyed. */
export interface HubResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** The headers that the hub itself sent, before it sent us to another host. */
  readonly hubHeaders: Readonly<Record<string, string | undefined>>;
  /** Whether the last answer came from the hub's own host. */
  readonly fromHub: boolean;
  readonly url: string;
  readonly body: Readable;
}

/** What is asked for. */
export interface HubRequest {
  readonly url: string;
  readonly method?: "GET" | "HEAD" | "POST" | "PUT";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | Readable;
  /** Milliseconds until the answer begins, and between two pieces of it. */
  readonly timeout: number;
}

/**
 * Ask a server, and follow its redirects by hand: the token goes to the hub's own host only.
 * @returns the last answer, of whatever status
 * @throws AbortError; LatentDiffusionError `ERR_HUB_UNAVAILABLE` where no answer came, which {@link TemporaryError} marks for another try
 */
export async function request(asked: HubRequest, settings: HubSettings): Promise<HubResponse> {
  const origin = new URL(settings.endpoint).origin;
  let url = new URL(asked.url);
  let hubHeaders: HubResponse["headers"] = {};
  for (let hop = 0; hop <= MOST_REDIRECTS; hop++) {
    const fromHub = url.origin === origin;
    const answer = await send(url, asked, settings, fromHub ? settings.token : undefined);
    const headers = flatten(answer.headers);
    if (fromHub) hubHeaders = { ...hubHeaders, ...headers };
    const location = headers.location;
    if (![301, 302, 303, 307, 308].includes(answer.statusCode) || location === undefined)
      return { status: answer.statusCode, headers, hubHeaders, fromHub, url: url.href, body: answer.body };
    discard(answer.body);
    url = nextUrl(location, url);
  }
  throw new LatentDiffusionError(
    "ERR_HUB_UNAVAILABLE",
    `${hideQuery(asked.url)} leads to more than ${MOST_REDIRECTS} redirects`,
  );
}

/** Let an answer's body go unread. */
export function discard(body: Readable): void {
  body.on("error", () => undefined);
  body.destroy();
}

/** An address as messages may show it: signed addresses carry a secret in their query. */
export function hideQuery(url: string): string {
  return url.replace(/\?.*$/s, "");
}

/** Turn what undici or a socket throws into a typed error; an abort stays an abort. */
export function networkError(cause: unknown, url: string, settings: HubSettings): LatentDiffusionError {
  throwIfAborted(settings.signal);
  if (cause instanceof LatentDiffusionError) return cause;
  const code = (cause as NodeJS.ErrnoException).code ?? "";
  const reason = cause instanceof Error && cause.message !== "" ? cause.message : String(cause);
  const advice = /TIMEOUT/i.test(code)
    ? "no answer in time; HF_HUB_DOWNLOAD_TIMEOUT and HF_HUB_ETAG_TIMEOUT are the seconds to wait"
    : "check the connection, HTTPS_PROXY and HF_ENDPOINT";
  return new TemporaryError(
    `${hideQuery(url)} cannot be reached (${[code, reason].filter(Boolean).join(": ")}); ${advice}`,
    { cause },
  );
}

async function send(
  url: URL,
  { method = "GET", headers, body, timeout }: HubRequest,
  settings: HubSettings,
  token: string | undefined,
): Promise<Dispatcher.ResponseData> {
  throwIfAborted(settings.signal);
  // Loaded when something is downloaded: it takes longer to load than the rest of the package.
  const undici = await import("undici");
  const proxy = proxyFor(url);
  const connect = { timeout };
  const dispatcher = dispatcherFor(`${proxy ?? ""} ${timeout}`, () =>
    proxy === undefined ? new undici.Agent({ connect }) : new undici.ProxyAgent({ uri: proxy, requestTls: connect }),
  );
  try {
    return await undici.request(url.href, {
      method,
      dispatcher,
      signal: settings.signal,
      headersTimeout: timeout,
      bodyTimeout: timeout,
      headers: {
        "user-agent": "latent-diffusion",
        // Compressed bytes have another size, and Range counts them.
        "accept-encoding": "identity",
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...headers,
      },
      body,
    });
  } catch (cause) {
    throw networkError(cause, url.href, settings);
  }
}

/** One for each way to a server, for the life of the process: connections are used again. Idle ones do not keep the process alive. */
const dispatchers = new Map<string, Dispatcher>();

function dispatcherFor(key: string, make: () => Dispatcher): Dispatcher {
  const known = dispatchers.get(key) ?? make();
  dispatchers.set(key, known);
  return known;
}

function nextUrl(location: string, from: URL): URL {
  const next = URL.canParse(location, from.href) ? new URL(location, from) : undefined;
  const isDowngrade = from.protocol === "https:" && next?.protocol === "http:";
  if (next === undefined || !/^https?:$/.test(next.protocol) || isDowngrade)
    throw new LatentDiffusionError(
      "ERR_HUB_UNAVAILABLE",
      `${hideQuery(from.href)} redirects to ${JSON.stringify(hideQuery(location).slice(0, 200))}, which is not followed`,
    );
  return next;
}

function flatten(headers: Readonly<Record<string, string | string[] | undefined>>): HubResponse["headers"] {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value[0] : value]),
  );
}
