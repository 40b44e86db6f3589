// Processes that end in every way at any moment: with their own code or signal, soon, and without an abort; a folder that they were
// saving is whole, or is refused.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  fail,
  faultOf,
  figure,
  finish,
  inPairs,
  library,
  quantile,
  randomizer,
  runProgram,
  seed,
  times,
} from "./common.mjs";

const ENDINGS = {
  exit: { code: 7, signal: null },
  end: { code: 0, signal: null },
  throw: { code: 1, signal: null },
  rejection: { code: 1, signal: null },
  SIGTERM: { code: null, signal: "SIGTERM" },
  SIGINT: { code: null, signal: "SIGINT" },
};
const MOMENTS = ["idle", "load", "denoise", "decode", "save"];

const folder = mkdtempSync(join(tmpdir(), "latent-diffusion-torture-"));
const random = randomizer();
const waits = [];
let saved = 0;

async function endOnce(moment, ending, delay) {
  const own = mkdtempSync(join(folder, "saved-"));
  const name = `${ending} mid-${moment} after ${delay} ms, seed ${seed}`;
  const { output, hung, ...found } = await runProgram("exit-moment.mjs", {
    args: [moment, ending, String(delay), own],
  });
  const ended = Date.now();
  const expected = ENDINGS[ending];
  if (hung) fail(`${name}: did not end`);
  else if (found.code !== expected.code || found.signal !== expected.signal)
    fail(`${name}: ended with ${found.code} ${found.signal}: ${output.slice(-300)}`);
  const began = Number(/ends (\d+)/.exec(output)?.[1]);
  // Who ends by himself does first what he has begun.
  if (ending !== "end") waits.push(ended - began);
  if (moment === "save" && existsSync(join(own, "model"))) await checkSaved(join(own, "model"), name);
  rmSync(own, { recursive: true });
}

async function checkSaved(path, name) {
  try {
    (await library.LDMPipeline.fromPretrained(path)).dispose();
    saved++;
  } catch (error) {
    const fault = faultOf(error) ?? (existsSync(join(path, "model_index.json")) ? error.message : undefined);
    if (fault) fail(`${name}: what was saved: ${fault}`);
  }
}

const rounds = times(20, 1);
const all = Array.from({ length: rounds }, () =>
  MOMENTS.flatMap((moment) => Object.keys(ENDINGS).map((ending) => [moment, ending, random(120)])),
).flat();
await inPairs(all.map((one) => () => endOnce(...one)));
figure(`exits, {${Object.keys(ENDINGS)}} x {${MOMENTS}} x ${rounds}`, all.length);
figure("p50 of the time to end", quantile(waits, 0.5), { unit: "ms" });
figure("p99 of the time to end", quantile(waits, 0.99), { most: 5000, unit: "ms" });
figure("saves that were whole", saved);
rmSync(folder, { recursive: true });
finish();
