import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** Commit of the one revision that the server has. */
export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
export const ID = "owner/name";

/** Bytes that do not repeat, so that a piece in the wrong place changes the hash. */
export const LARGE = Buffer.from(Array.from({ length: 200_000 }, (_, i) => (i * 7919 + (i >> 8)) & 255));
const SMALL = Buffer.from('{"_class_name": "LDMPipeline"}\n');
export const FILES: ReadonlyMap<string, Buffer> = new Map([
  ["model_index.json", SMALL],
  ["unet/diffusion_pytorch_model.safetensors", LARGE],
]);

/** A request that came. */
export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly host: "hub" | "cdn";
  readonly authorization: string | undefined;
  readonly range: string | undefined;
}

/** Answer a request in the place of the server; returns false to let the server answer. */
export type Fault = (seen: Seen, response: ServerResponse, count: number) => boolean;

/** A hub on loopback, and the other host that it sends large files' readers to. */
export interface HubServer {
  readonly endpoint: string;
  readonly seen: Seen[];
  fault: Fault;
  close(): Promise<void>;
}

/** Start a hub. @param files of its one repository */
export async function startHub(files: ReadonlyMap<string, Buffer> = FILES): Promise<HubServer> {
  const seen: Seen[] = [];
  const listen = async (host: Seen["host"]): Promise<ReturnType<typeof createServer>> => {
    const server = createServer((request, response) => handle(host, request, response));
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    return server;
  };
  const handle = (host: Seen["host"], request: IncomingMessage, response: ServerResponse): void => {
    const { authorization, range } = request.headers;
    const one: Seen = { method: request.method ?? "", path: request.url ?? "", host, authorization, range };
    seen.push(one);
    if (hub.fault(one, response, seen.filter(({ path }) => path === one.path).length)) return;
    if (host === "cdn") sendBytes(response, files.get(decodeURIComponent(one.path.slice(1))) ?? LARGE, range);
    else answer(one, response, { files, cdn: cdnAddress });
  };
  const servers = [await listen("hub"), await listen("cdn")];
  const [address = "", cdnAddress = ""] = servers.map(
    (server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  );
  const hub: HubServer = {
    endpoint: address,
    seen,
    fault: () => false,
    close: async () => {
      for (const server of servers) {
        server.closeAllConnections();
        await new Promise((done) => server.close(done));
      }
    },
  };
  return hub;
}

/** Files of so many bytes are large: another host sends them. */
const LARGE_BYTES = 10_000;

function answer(
  { path, range }: Seen,
  response: ServerResponse,
  { files, cdn }: { files: ReadonlyMap<string, Buffer>; cdn: string },
): void {
  const revision = new RegExp(`^/api/models/${ID}/revision/(main|${COMMIT})(\\?|$)`);
  if (revision.test(path)) return sendJson(response, describeRepository(files));
  const name = path.startsWith(`/${ID}/resolve/`) ? path.split("/").slice(5).join("/") : "";
  if (path.startsWith(`/api/models/${ID}/tree/`)) return sendJson(response, describeTree(files));
  const bytes = files.get(decodeURIComponent(name));
  if (bytes === undefined) return refuse(response, 404, path.startsWith(`/${ID}/`) ? "EntryNotFound" : "RepoNotFound");
  response.setHeader("x-repo-commit", COMMIT);
  if (bytes.length < LARGE_BYTES) return sendBytes(response, bytes, range, gitHash(bytes));
  // The other host has an etag of its own, as the real one.
  response.writeHead(302, {
    location: `${cdn}/${name}`,
    "x-linked-etag": `"${sha256(bytes)}"`,
    "x-linked-size": bytes.length,
  });
  response.end();
}

/** What `/api/models/.../revision/main?blobs=true` says. */
export function describeRepository(files: ReadonlyMap<string, Buffer> = FILES): {
  id: string;
  sha: string;
  siblings: Record<string, unknown>[];
} {
  const siblings = [...files].map(([rfilename, bytes]): Record<string, unknown> => ({
    rfilename,
    size: bytes.length,
    blobId: gitHash(bytes),
    ...(bytes.length >= LARGE_BYTES ? { lfs: { sha256: sha256(bytes), size: bytes.length, pointerSize: 130 } } : {}),
  }));
  return { id: ID, sha: COMMIT, siblings };
}

/** What `/api/models/.../tree/...?recursive=true` says, which Python asks for. */
function describeTree(files: ReadonlyMap<string, Buffer>): Record<string, unknown>[] {
  return describeRepository(files).siblings.map(({ rfilename: path, size, blobId: oid, lfs }) => {
    const large = lfs as { sha256: string; size: number; pointerSize: number } | undefined;
    return { type: "file", path, size, oid, ...(large ? { lfs: { ...large, oid: large.sha256 } } : {}) };
  });
}

/** Send an error as the hub does. */
export function refuse(
  response: ServerResponse,
  status: number,
  code?: string,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { ...(code === undefined ? {} : { "x-error-code": code }), ...headers });
  response.end();
}

/** Send a value as JSON. */
export function sendJson(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify(value));
}

/** Send bytes, or the rest that a Range asks for. */
export function sendBytes(response: ServerResponse, bytes: Buffer, range?: string, etag = "of-the-cdn"): void {
  const start = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
  const rest = bytes.subarray(start);
  const partial = { "content-range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` };
  response.writeHead(start > 0 ? 206 : 200, {
    "content-length": rest.length,
    etag: `"${etag}"`,
    ...(start > 0 ? partial : {}),
  });
  response.end(rest);
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

export function gitHash(bytes: Uint8Array): string {
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}
