// Prints what a run of a batch of argv[2] images really takes, and what it was estimated to take, in MiB.
const { readFileSync, writeFileSync } = require("node:fs");
const { join } = require("node:path");
const { LDMPipeline } = require("../../../dist/index.js");
const { estimateRun } = require("../../../dist/pipelines/shared/memory.js");

const CHECKPOINT = join(__dirname, "..", "..", "fixtures", "pipelines", "tiny", "checkpoint");
const batchSize = Number(process.argv[2]);

const status = (name) =>
  Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(readFileSync("/proc/self/status", "utf8"))[1]);

async function main() {
  for (const optimize of [true, false]) {
    const pipe = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize });
    await pipe.generate({ numInferenceSteps: 1, seed: 1 });
    // "5" sets the peak to what is resident now.
    writeFileSync("/proc/self/clear_refs", "5");
    const before = status("VmRSS");
    await pipe.generate({ batchSize, numInferenceSteps: 1, seed: 1 });
    const taken = (status("VmHWM") - before) / 1024;
    console.log(taken.toFixed(1), (estimateRun(pipe, [batchSize, 3, 8, 8], "image") / 2 ** 20).toFixed(1));
    pipe.dispose();
    // What is without work for a second goes back to the system.
    await new Promise((resolve) => setTimeout(resolve, 1500));
  }
}

void main();
