// Uploading to a hub on loopback that takes what the real one takes, in huggingface_hub's order.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join, resolve } from "node:path";
import { buffer } from "node:stream/consumers";
import { readFileSync } from "node:fs";
import t, { type Test } from "tap";
import { LDMPipeline } from "../../lib/index.js";
import { ID, sendJson, sha256 } from "./hub-server.js";

const DEMO = resolve(__dirname, "../../models/demo");
const CHUNK = 3_000_000;

interface Taker {
  readonly endpoint: string;
  /** Method, path and whether the token came, in order. */
  readonly seen: string[];
  /** Content of each file of the commit; large files by what was put under their hash. */
  readonly files: Map<string, Buffer>;
  readonly commit: { summary?: string };
  exists: boolean;
  /** Status for a path that contains this text. */
  refuse: [text: string, status: number] | undefined;
  created: unknown;
}

async function startTaker(t: Test): Promise<Taker> {
  const stored = new Map<string, Buffer>();
  const parts = new Map<string, Buffer>();
  const server = createServer((request, response) => {
    void buffer(request).then((bytes) => {
      const path = request.url ?? "";
      const text = bytes.toString("utf8");
      taker.seen.push(`${request.method} ${path}${request.headers.authorization === "Bearer hf_w" ? " token" : ""}`);
      if (taker.refuse !== undefined && path.includes(taker.refuse[0])) {
        response.writeHead(taker.refuse[1]);
        return response.end();
      }
      if (path === `/api/models/${ID}`) {
        response.writeHead(taker.exists ? 200 : 404);
        return response.end("{}");
      }
      if (path.startsWith("/put/")) {
        parts.set(path.slice(5), bytes);
        response.writeHead(200, { etag: `"${path}"` });
        return response.end();
      }
      if (path.startsWith("/complete/")) {
        const { oid, parts: done } = JSON.parse(text) as { oid: string; parts: { partNumber: number; etag: string }[] };
        stored.set(oid, Buffer.concat(done.map(({ etag }) => parts.get(etag.slice(6, -1)) ?? Buffer.alloc(0))));
        return sendJson(response, {});
      }
      return sendJson(response, answer(path, text));
    });
  });
  const answer = (path: string, text: string): object => {
    if (path === "/api/repos/create") {
      taker.created = JSON.parse(text) as unknown;
      return {};
    }
    if (path.endsWith("/preupload/main")) {
      const { files } = JSON.parse(text) as { files: { path: string; size: number }[] };
      return {
        files: files.map(({ path: name, size }) => ({
          path: name,
          uploadMode: size > 10_000 ? "lfs" : "regular",
          shouldIgnore: false,
        })),
      };
    }
    if (path === `/${ID}.git/info/lfs/objects/batch`) return batch(text);
    if (path.startsWith("/verify/")) return {};
    if (!path.endsWith("/commit/main")) throw new Error(path);
    for (const line of text.trim().split("\n")) {
      const { key, value } = JSON.parse(line) as { key: string; value: Record<string, string> };
      if (key === "header") Object.assign(taker.commit, value);
      const { path: name = "", content = "", oid = "" } = value;
      if (key === "file") taker.files.set(name, Buffer.from(content, "base64"));
      if (key === "lfsFile") taker.files.set(name, stored.get(oid) ?? parts.get(oid) ?? Buffer.alloc(0));
    }
    return { commitOid: "0".repeat(40), commitUrl: `${taker.endpoint}/${ID}/commit/0` };
  };
  // The first, larger, object in parts; the others whole.
  const batch = (text: string): object => {
    const { objects } = JSON.parse(text) as { objects: { oid: string; size: number }[] };
    return {
      objects: objects.map(({ oid, size }) => {
        const count = Math.ceil(size / CHUNK);
        const urls = Array.from({ length: count }, (_, i) => [String(i + 1), `${taker.endpoint}/put/${oid}-${i}`]);
        const upload =
          count > 1
            ? {
                href: `${taker.endpoint}/complete/${oid}`,
                header: { chunk_size: String(CHUNK), ...(Object.fromEntries(urls) as Record<string, string>) },
              }
            : { href: `${taker.endpoint}/put/${oid}` };
        return { oid, size, actions: { upload, verify: { href: `${taker.endpoint}/verify/${oid}` } } };
      }),
    };
  };
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const taker: Taker = {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen: [],
    files: new Map(),
    commit: {},
    exists: false,
    refuse: undefined,
    created: undefined,
  };
  return taker;
}

t.test("pushToHub", async (t) => {
  const pipe = await LDMPipeline.fromPretrained(DEMO);
  t.teardown(() => pipe.dispose());

  await t.test("makes the repository, uploads large files beside git, commits all", async (t) => {
    const taker = await startTaker(t);
    const { endpoint } = taker;
    const done = await pipe.pushToHub(ID, { endpoint, token: "hf_w", private: true, commitMessage: "Better faces" });
    t.same(done, { commit: "0".repeat(40), url: `${endpoint}/${ID}/commit/0` });
    t.same(taker.created, { name: "name", organization: "owner", visibility: "private" });
    t.equal(taker.commit.summary, "Better faces");
    const folder = t.testdir({});
    await pipe.savePretrained(folder);
    const names = [...taker.files.keys()].sort();
    t.same(names, [
      "model_index.json",
      "scheduler/scheduler_config.json",
      "unet/config.json",
      "unet/diffusion_pytorch_model.safetensors",
      "vqvae/config.json",
      "vqvae/diffusion_pytorch_model.safetensors",
    ]);
    for (const name of names)
      t.equal(sha256(taker.files.get(name) ?? Buffer.alloc(0)), sha256(readFileSync(join(folder, name))), name);
    t.ok(
      taker.seen.some((line) => line.startsWith("POST /complete/")),
      "in parts",
    );
    t.ok(
      taker.seen.every((line) => line.endsWith(" token")),
      "one host",
    );
  });

  await t.test("a repository that exists is not made", async (t) => {
    const taker = await startTaker(t);
    taker.exists = true;
    await pipe.pushToHub(ID, { endpoint: taker.endpoint, token: "hf_w" });
    t.equal(taker.created, undefined);
    t.equal(taker.commit.summary, "Upload LDMPipeline");
  });

  await t.test("refusals", async (t) => {
    const taker = await startTaker(t);
    const push = (options: object): Promise<unknown> => pipe.pushToHub(ID, { endpoint: taker.endpoint, ...options });
    await t.rejects(push({ token: false }), { code: "ERR_HUB_ACCESS_DENIED", message: /token/ });
    for (const [text, status, code] of [
      ["/repos/create", 403, "ERR_HUB_ACCESS_DENIED"],
      ["/preupload/", 401, "ERR_HUB_ACCESS_DENIED"],
      ["/objects/batch", 404, "ERR_HUB_NOT_FOUND"],
      ["/commit/", 503, "ERR_HUB_UNAVAILABLE"],
    ] as const) {
      taker.refuse = [text, status];
      await t.rejects(push({ token: "hf_w" }), { code }, text);
    }
    t.equal(taker.files.size, 0, "nothing was committed");
    await t.rejects(push({ token: "hf_w", signal: AbortSignal.abort() }), { name: "AbortError" });
    await t.rejects(push({ tokem: "hf_w" }), { code: "ERR_INVALID_ARGUMENT", message: /"tokem".*"token"/ });
    await t.rejects(pipe.pushToHub("name", { token: "hf_w" }), { code: "ERR_INVALID_ARGUMENT" });
  });
});
