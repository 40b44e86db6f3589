// A process that downloads is killed at seeded moments: the next one ends with the right bytes, and does not fetch all again.
// `HUB_KILLS=50` for more than the few moments of `npm test`.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { downloadSnapshot } from "../../lib/hub/snapshot.js";
import { PACKAGE_ROOT } from "../../lib/native/packages.js";
import { type HubServer, ID, startHub } from "./hub-server.js";

const KILLS = Number(process.env.HUB_KILLS ?? 4);
const PIECE = 32_768;
const NAME = "weights.safetensors";
const WEIGHTS = Buffer.from(Uint32Array.from({ length: 400_000 }, (_, i) => (i * 2_654_435_761) >>> 0).buffer);

/** Says after each piece how many bytes are in the file. */
const CHILD = `
const { downloadSnapshot } = require(process.argv[1]);
const [id, cacheDir, endpoint] = process.argv.slice(2);
const onProgress = ({ bytesDone }) => require("node:fs").writeSync(1, bytesDone + "\\n");
downloadSnapshot({ id, cacheDir, endpoint, token: false, onProgress });
`;

/** Numbers in [0, 1) that are the same in every run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Start a download in another process, and kill it when so many bytes have come. */
async function downloadAndKill(cacheDir: string, endpoint: string, bytes: number, delay: number): Promise<void> {
  const script = join(PACKAGE_ROOT, "dist", "hub", "snapshot.js");
  const child = spawn(process.execPath, ["-e", CHILD, script, ID, cacheDir, endpoint], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(child, "exit");
  for await (const line of createInterface(child.stdout)) if (Number(line) >= bytes) break;
  await sleep(delay);
  child.kill("SIGKILL");
  await ended;
}

t.test(`killed at ${KILLS} moments`, { timeout: 300_000 }, async (t) => {
  const hub: HubServer = await startHub(new Map([[NAME, WEIGHTS]]));
  t.teardown(() => hub.close());
  let sent = 0;
  hub.fault = ({ host, range }, response) => {
    if (host !== "cdn") return false;
    const start = Number(/\d+/.exec(range ?? "")?.[0] ?? 0);
    response.writeHead(start > 0 ? 206 : 200, {
      "content-length": WEIGHTS.length - start,
      ...(start > 0 ? { "content-range": `bytes ${start}-${WEIGHTS.length - 1}/${WEIGHTS.length}` } : {}),
    });
    const send = (from: number): void => {
      if (response.destroyed) return;
      const piece = WEIGHTS.subarray(from, from + PIECE);
      sent += piece.length;
      response.write(piece);
      if (from + PIECE >= WEIGHTS.length) response.end();
      else setTimeout(() => send(from + PIECE), 1);
    };
    send(start);
    return true;
  };
  const root = t.testdir({});
  const random = seeded(1);
  let refetched = 0;
  for (let i = 0; i < KILLS; i++) {
    const cacheDir = join(root, `cache-${i}`);
    const bytes = Math.max(1, Math.round(random() * WEIGHTS.length));
    await downloadAndKill(cacheDir, hub.endpoint, bytes, random() * 5);
    sent = 0;
    const folder = await downloadSnapshot({ id: ID, cacheDir, endpoint: hub.endpoint, token: false });
    const right = readFileSync(join(folder, NAME)).equals(WEIGHTS);
    if (!right || sent > WEIGHTS.length - bytes) t.fail(`killed after ${bytes} bytes: ${sent} came again, ${right}`);
    refetched += sent;
  }
  t.ok(refetched < (KILLS * WEIGHTS.length * 3) / 4, "far less than all came again");
  t.comment(`${Math.round((100 * refetched) / (KILLS * WEIGHTS.length))} % of all bytes came again`);
});
