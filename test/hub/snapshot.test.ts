import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { readEnvironment } from "../../lib/hub/environment.js";
import { checkHubOptions, type HubOptions } from "../../lib/hub/options.js";
import { snapshotWith, type SnapshotRequest } from "../../lib/hub/snapshot.js";
import {
  COMMIT,
  describeRepository,
  type Fault,
  FILES,
  type HubServer,
  ID,
  LARGE,
  refuse,
  sendBytes,
  sendJson,
  sha256,
  startHub,
} from "./hub-server.js";

const WEIGHTS = "unet/diffusion_pytorch_model.safetensors";

async function setUp(t: Test): Promise<{
  hub: HubServer;
  cacheDir: string;
  get: (options?: HubOptions, choose?: SnapshotRequest["choose"]) => Promise<string>;
}> {
  const hub = await startHub();
  t.teardown(() => hub.close());
  const cacheDir = t.testdir({});
  // The machine's own variables, token included, are not a test's.
  const environment = readEnvironment({ HF_HOME: cacheDir, HF_HUB_DOWNLOAD_TIMEOUT: "1", HF_HUB_ETAG_TIMEOUT: "1" });
  const get = async (
    options: HubOptions = {},
    choose: SnapshotRequest["choose"] = async ({ names }) => Promise.resolve(names),
  ): Promise<string> => {
    const settings = checkHubOptions({ cacheDir, endpoint: hub.endpoint, ...options }, environment);
    return snapshotWith(ID, choose, { ...settings, retryDelay: 1 });
  };
  return { hub, cacheDir, get };
}

function checkContent(t: Test, folder: string): void {
  for (const [name, bytes] of FILES) t.ok(readFileSync(join(folder, name)).equals(bytes), `${name}, byte for byte`);
}

t.test("a snapshot in Python's layout; the token stays with the hub; nothing comes twice", async (t) => {
  const { hub, cacheDir, get } = await setUp(t);
  const folder = await get({ token: "hf_secret" });
  const storage = join(cacheDir, "models--owner--name");
  t.equal(folder, join(storage, "snapshots", COMMIT));
  checkContent(t, folder);
  t.equal(readlinkSync(join(folder, WEIGHTS)), join("..", "..", "..", "blobs", sha256(LARGE)));
  t.equal(readFileSync(join(storage, "refs", "main"), "utf8"), COMMIT);
  t.same(
    readdirSync(join(storage, "blobs")).filter((name) => name.endsWith(".incomplete")),
    [],
  );
  t.ok(hub.seen.some(({ host }) => host === "cdn"));
  for (const { host, authorization } of hub.seen)
    t.equal(authorization, host === "hub" ? "Bearer hf_secret" : undefined, host);
  const before = hub.seen.length;
  await get();
  t.equal(hub.seen.length - before, 1, "only the revision is asked for");
  await get({ localFilesOnly: true });
  t.equal(hub.seen.length - before, 1, "nothing is asked for");
});

t.test("what a dead process left is continued, and a wrong piece is not believed", async (t) => {
  for (const [name, left, range] of [
    ["a right piece", LARGE.subarray(0, 150_000), "bytes=150000-"],
    ["a wrong piece", Buffer.alloc(150_000, 1), undefined],
  ] as const) {
    const { hub, cacheDir, get } = await setUp(t);
    const blobs = join(cacheDir, "models--owner--name", "blobs");
    mkdirSync(blobs, { recursive: true });
    writeFileSync(join(blobs, `${sha256(LARGE)}.0a1b2c3d.incomplete`), left);
    checkContent(t, await get());
    t.equal(hub.seen.filter(({ host }) => host === "cdn").at(-1)?.range, range, name);
    t.equal(readdirSync(blobs).length, FILES.size, "no piece is left");
  }
});

t.test("faults", async (t) => {
  const onApi =
    (act: (response: Parameters<Fault>[1]) => void): Fault =>
    (seen, response) => {
      if (!seen.path.startsWith("/api/")) return false;
      act(response);
      return true;
    };
  const onCdn =
    (act: (response: Parameters<Fault>[1], range: string | undefined) => void, times = Infinity): Fault =>
    (seen, response, count) => {
      if (seen.host !== "cdn" || count > times) return false;
      act(response, seen.range);
      return true;
    };
  const altered = (change: (file: Record<string, unknown>) => void): Fault =>
    onApi((response) => {
      const info = describeRepository();
      info.siblings.forEach(change);
      sendJson(response, info);
    });
  const cutOff = (response: Parameters<Fault>[1]): void => {
    response.writeHead(200, { "content-length": LARGE.length });
    response.write(LARGE.subarray(0, 50_000), () => setTimeout(() => response.destroy(), 20));
  };
  const page = (response: Parameters<Fault>[1]): void => {
    response.writeHead(200, { "content-type": "text/html" });
    response.end("<html>Log in</html>");
  };
  const wrong = Buffer.alloc(LARGE.length, 1);
  // A null code: the download succeeds all the same.
  const cases: readonly (readonly [name: string, fault: Fault, code: string | null, message?: RegExp])[] = [
    ["repository 404", onApi((r) => refuse(r, 404, "RepoNotFound")), "ERR_HUB_NOT_FOUND", /no repository owner\/name/],
    ["repository 401", onApi((r) => refuse(r, 401, "RepoNotFound")), "ERR_HUB_NOT_FOUND", /private/],
    ["revision 404", onApi((r) => refuse(r, 404, "RevisionNotFound")), "ERR_HUB_NOT_FOUND", /no revision "main"/],
    ["gated 401", onApi((r) => refuse(r, 401, "GatedRepo")), "ERR_HUB_ACCESS_DENIED", /open http.*owner\/name/],
    ["gated 403", onApi((r) => refuse(r, 403, "GatedRepo")), "ERR_HUB_ACCESS_DENIED", /open http.*owner\/name/],
    ["403", onApi((r) => refuse(r, 403)), "ERR_HUB_ACCESS_DENIED"],
    [
      "bad token",
      onApi((r) => refuse(r, 401, undefined, { "x-error-message": "Invalid credentials in Authorization header" })),
      "ERR_HUB_ACCESS_DENIED",
      /settings\/tokens/,
    ],
    ["busy for ever", onApi((r) => refuse(r, 503)), "ERR_HUB_UNAVAILABLE", /503/],
    [
      "too many requests for ever",
      onApi((r) => refuse(r, 429, undefined, { "retry-after": "0" })),
      "ERR_HUB_UNAVAILABLE",
      /429/,
    ],
    [
      "a wait of days",
      onApi((r) => refuse(r, 429, undefined, { "retry-after": "99999" })),
      "ERR_HUB_UNAVAILABLE",
      /429/,
    ],
    ["400", onApi((r) => refuse(r, 400)), "ERR_HUB_UNAVAILABLE", /endpoint/],
    ["no answer", onApi(() => undefined), "ERR_HUB_UNAVAILABLE", /HF_HUB_ETAG_TIMEOUT/],
    ["a broken connection", onApi((r) => r.destroy()), "ERR_HUB_UNAVAILABLE", /cannot be reached/],
    ["a portal's page for the API", onApi(page), "ERR_HUB_UNAVAILABLE", /HTML page/],
    ["other JSON", onApi((r) => sendJson(r, [])), "ERR_HUB_UNAVAILABLE", /as a hub does/],
    [
      "redirects without end",
      onApi((r) => refuse(r, 302, undefined, { location: "/api/again" })),
      "ERR_HUB_UNAVAILABLE",
      /redirects/,
    ],
    [
      "a redirect to a file",
      onApi((r) => refuse(r, 302, undefined, { location: "file:///etc/passwd" })),
      "ERR_HUB_UNAVAILABLE",
      /not followed/,
    ],
    ["a name with ..", altered((file) => (file.rfilename = "../../x")), "ERR_DOWNLOAD_FAILED", /out of the cache/],
    ["an absolute name", altered((file) => (file.rfilename = "/etc/x")), "ERR_DOWNLOAD_FAILED", /out of the cache/],
    [
      "a name with a backslash",
      altered((file) => (file.rfilename = "..\\x")),
      "ERR_DOWNLOAD_FAILED",
      /out of the cache/,
    ],
    ["a hash that is a path", altered((file) => (file.blobId = "../../x")), "ERR_HUB_UNAVAILABLE", /as a hub does/],
    [
      "a larger size than any disk",
      altered((file) => (file.lfs = { sha256: sha256(LARGE), size: 2 ** 52 })),
      "ERR_IO",
      /bytes free/,
    ],
    ["a portal's page for a file", onCdn(page), "ERR_HUB_UNAVAILABLE", /HTML page/],
    ["wrong bytes for ever", onCdn((r) => sendBytes(r, wrong)), "ERR_DOWNLOAD_FAILED", /hash/],
    ["wrong bytes once", onCdn((r) => sendBytes(r, wrong), 1), null],
    ["too many bytes", onCdn((r) => sendBytes(r, Buffer.concat([LARGE, LARGE]))), "ERR_DOWNLOAD_FAILED", /more bytes/],
    [
      "too few bytes for ever",
      onCdn((r, range) => sendBytes(r, LARGE.subarray(0, 100_000), range)),
      "ERR_HUB_UNAVAILABLE",
    ],
    ["cut off once", onCdn(cutOff, 1), null],
    [
      "the range ignored",
      (seen, response, count) => {
        if (seen.host !== "cdn") return false;
        if (count === 1) cutOff(response);
        else sendBytes(response, LARGE);
        return true;
      },
      null,
    ],
    [
      "416 once",
      (seen, response, count) => {
        if (seen.host !== "cdn" || count > 2) return false;
        if (count === 1) cutOff(response);
        else refuse(response, 416);
        return true;
      },
      null,
    ],
    ["a signed address that ran out", onCdn((r) => refuse(r, 403), 1), null],
    ["500 once", onCdn((r) => refuse(r, 500), 1), null],
    [
      "compressed",
      onCdn((r) => refuse(r, 200, undefined, { "content-encoding": "gzip" })),
      "ERR_DOWNLOAD_FAILED",
      /compressed/,
    ],
    [
      "silence in the middle, once",
      onCdn((r) => {
        r.writeHead(200, { "content-length": LARGE.length });
        r.write(LARGE.subarray(0, 50_000));
      }, 1),
      null,
    ],
  ];
  for (const [name, fault, code, message] of cases) {
    await t.test(name, async (t) => {
      const { hub, cacheDir, get } = await setUp(t);
      hub.fault = fault;
      if (code === null) checkContent(t, await get());
      else await t.rejects(get(), { code, ...(message ? { message } : {}) });
      if (code !== null)
        t.throws(
          () => lstatSync(join(cacheDir, "models--owner--name", "blobs", sha256(LARGE))),
          "no name for what is not whole",
        );
    });
  }
});
