// What native/memory gains: one run of the pipeline with its allocator and one without, each in a process of its own, in turns.
//
//     node bench/allocator.mjs [--model FOLDER] [--steps 20] [--batch 1] [--dtype float32] [--rounds 3]
//
// FOLDER is a pipeline in diffusers' layout, such as bench/make_full_size.py writes; default: the demo checkpoint. Prints a line for each
// process, then medians. "first" is the process's first picture, "next" the second one, which finds memory that the first gave back.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { inProject } from "../scripts/setup/paths.mjs";
import { median } from "./statistics.mjs";

const MEASURES = ["firstMs", "nextMs", "peakMb"];
const WAYS = {
  "with the allocator": { LATENT_DIFFUSION_WITHOUT_ALLOCATOR: "0" },
  "without the allocator": { LATENT_DIFFUSION_WITHOUT_ALLOCATOR: "1" },
};

const { values } = parseArgs({
  options: {
    model: { type: "string", default: inProject("models/demo") },
    steps: { type: "string", default: "20" },
    batch: { type: "string", default: "1" },
    dtype: { type: "string", default: "float32" },
    rounds: { type: "string", default: "3" },
    child: { type: "boolean", default: false },
  },
});

if (values.child) await measure();
else compare();

/** Make two pictures in this process and print what they took, as a line of JSON. */
async function measure() {
  const { LDMPipeline } = createRequire(import.meta.url)("../dist/index.js");
  const pipe = await LDMPipeline.fromPretrained(values.model, { dtype: values.dtype });
  const options = { numInferenceSteps: Number(values.steps), batchSize: Number(values.batch), outputType: "array" };
  const hash = createHash("sha256");
  const times = [];
  for (const seed of [1, 2]) {
    const start = performance.now();
    const { images } = await pipe.generate({ ...options, seed });
    times.push(performance.now() - start);
    hash.update(images.data);
  }
  const [firstMs, nextMs] = times;
  console.log(JSON.stringify({ firstMs, nextMs, peakMb: peakMemory(), picture: hash.digest("hex") }));
}

/** The most resident memory that this process had, in MB. */
function peakMemory() {
  const status = readFileSync("/proc/self/status", "utf8");
  return Number(/^VmHWM:\s+(\d+)/m.exec(status)[1]) / 1024;
}

/** Run both ways in turns and print them side by side. */
function compare() {
  if (process.platform !== "linux") throw new Error("The allocator is for Linux only");
  const results = Object.fromEntries(Object.keys(WAYS).map((way) => [way, []]));
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const [way, environment] of Object.entries(WAYS)) {
      const found = runChild(environment);
      results[way].push(found);
      console.log(`${way}: ${describe((measure) => found[measure])}`);
    }
  }
  const pictures = new Set(
    Object.values(results)
      .flat()
      .map(({ picture }) => picture),
  );
  if (pictures.size !== 1) throw new Error("The pictures differ");
  console.log("\nmedians");
  for (const [way, found] of Object.entries(results))
    console.log(`${way}: ${describe((measure) => median(found.map((result) => result[measure])))}`);
}

function runChild(environment) {
  const args = [fileURLToPath(import.meta.url), ...process.argv.slice(2), "--child"];
  const env = { ...process.env, ...environment };
  return JSON.parse(execFileSync(process.execPath, args, { env, encoding: "utf8" }));
}

/** @param {(measure: string) => number} valueOf */
function describe(valueOf) {
  return MEASURES.map((measure) => `${measure} ${valueOf(measure).toFixed(0)}`).join(", ");
}
