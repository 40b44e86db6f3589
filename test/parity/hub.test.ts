// The same server and the same cache for this package and for Python's huggingface_hub.
import { execFile } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import t, { type Test } from "tap";
import { downloadSnapshot } from "../../lib/hub/snapshot.js";
import { COMMIT, FILES, type HubServer, ID, startHub } from "../hub/hub-server.js";

const python = process.env.PARITY_PYTHON;
const options = { skip: python === undefined && "needs PARITY_PYTHON: npm run test:parity" };

/** Prints the snapshot's folder. */
const DOWNLOAD = `
import sys
from huggingface_hub import snapshot_download
print(snapshot_download(sys.argv[1], cache_dir=sys.argv[2], endpoint=sys.argv[3], local_files_only=sys.argv[4] == "local"))
`;

/** Prints what Python sees in a cache. */
const SCAN = `
import json, sys
from huggingface_hub import scan_cache_dir
found = scan_cache_dir(sys.argv[1])
print(json.dumps({
    "warnings": [str(warning) for warning in found.warnings],
    "repos": {
        repo.repo_id: {revision.commit_hash: sorted(str(file.file_path.relative_to(revision.snapshot_path)) for file in revision.files)
        for revision in repo.revisions} for repo in found.repos
    },
    "refs": {repo.repo_id: sorted(repo.refs) for repo in found.repos},
    "size": found.size_on_disk,
}))
`;

async function runPython(script: string, ...args: readonly string[]): Promise<string> {
  const env = { ...process.env, HF_HUB_OFFLINE: "0", HF_HUB_DISABLE_PROGRESS_BARS: "1", HF_HUB_DISABLE_XET: "1" };
  const { stdout } = await promisify(execFile)(python ?? "", ["-c", script, ...args], { env });
  return stdout.trim();
}

async function setUp(t: Test): Promise<{
  hub: HubServer;
  cacheDir: string;
  ours: (local?: boolean) => Promise<string>;
  theirs: (local?: boolean) => Promise<string>;
  bytesSent: () => number;
}> {
  const hub = await startHub();
  t.teardown(() => hub.close());
  const cacheDir = t.testdir({});
  const { endpoint } = hub;
  const ours = (local = false): Promise<string> =>
    downloadSnapshot({ id: ID, cacheDir, endpoint, localFilesOnly: local, token: false });
  const theirs = (local = false): Promise<string> =>
    runPython(DOWNLOAD, ID, cacheDir, endpoint, local ? "local" : "network");
  /** How often a file was sent, by either host. */
  const bytesSent = (): number =>
    hub.seen.filter(({ method, path, host }) => method === "GET" && (host === "cdn" || path.includes("/resolve/")))
      .length;
  return { hub, cacheDir, ours, theirs, bytesSent };
}

function checkContent(t: Test, folder: string): void {
  for (const [name, bytes] of FILES) t.ok(readFileSync(join(folder, name)).equals(bytes), name);
}

async function checkScan(t: Test, cacheDir: string): Promise<void> {
  const found: unknown = JSON.parse(await runPython(SCAN, cacheDir));
  const size = [...FILES.values()].reduce((sum, bytes) => sum + bytes.length, 0);
  t.same(found, {
    warnings: [],
    repos: { [ID]: { [COMMIT]: [...FILES.keys()].sort() } },
    refs: { [ID]: ["main"] },
    size,
  });
}

void t.test("what this package fetched, Python does not fetch again", options, async (t) => {
  const { cacheDir, ours, theirs, bytesSent } = await setUp(t);
  const folder = await ours();
  await checkScan(t, cacheDir);
  const before = bytesSent();
  t.ok(before > 0);
  t.equal(await theirs(), folder);
  t.equal(bytesSent(), before, "no file was sent again");
  t.equal(await theirs(true), folder, "and offline");
  checkContent(t, folder);
});

void t.test("what Python fetched, this package does not fetch again", options, async (t) => {
  const { cacheDir, ours, theirs, bytesSent } = await setUp(t);
  const folder = await theirs();
  const before = bytesSent();
  t.ok(before > 0);
  t.equal(await ours(), folder);
  t.equal(bytesSent(), before, "no file was sent again");
  t.equal(await ours(true), folder, "and offline");
  checkContent(t, folder);
  await checkScan(t, cacheDir);
});

void t.test("both download the same model at once", options, async (t) => {
  const { cacheDir, ours, theirs } = await setUp(t);
  const [here, there] = await Promise.all([ours(), theirs()]);
  t.equal(here, there);
  checkContent(t, here);
  await checkScan(t, cacheDir);
  const blobs = join(cacheDir, "models--owner--name", "blobs");
  t.equal(readdirSync(blobs).filter((name) => statSync(join(blobs, name)).isFile()).length, FILES.size);
});
