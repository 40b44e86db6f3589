import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { configure } from "../../lib/native/open.js";
import { LDMPipeline } from "../../lib/pipelines/ldm.js";
import { expectedOf, readPipelineCase, replayRun } from "../support/pipeline-cases.js";

// Whole pictures by every scheduler that a checkpoint names, with `optimize: false`.

const root = process.env.PARITY_DIR;
const skip =
  root === undefined ? "needs the files of reference/scheduler-pipelines.py in PARITY_DIR: npm run test:parity" : false;
const reference = join(root ?? "", "scheduler-pipelines");
const cases = existsSync(reference) ? readdirSync(reference) : [];
if (skip === false) configure({ threads: Number(process.env.PARITY_THREADS ?? 2) });

// Some timesteps, and DEIS's steps, are made of numpy's float32 logarithm, which depends on the CPU.
const CLOSE = [
  "KDPM2DiscreteScheduler",
  "KDPM2AncestralDiscreteScheduler",
  "DPMSolverSDEScheduler",
  "DEISMultistepScheduler",
];
const TOLERANCE = 1e-4;

t.test("there is a checkpoint for every scheduler that goes to pictures", { skip }, async (t) => {
  t.ok(cases.length >= 17, `${cases.length} schedulers`);
});

for (const name of cases)
  t.test(name, { skip }, async (t) => {
    const folder = join(reference, name);
    const { runs, tensors } = readPipelineCase(folder);
    const pipe = await LDMPipeline.fromPretrained(join(folder, "checkpoint"), { optimize: false });
    t.teardown(() => pipe.dispose());
    t.equal(pipe.scheduler.className, name);
    const tolerance = CLOSE.includes(name) ? TOLERANCE : 0;
    for (const [i, run] of runs.entries()) await replayRun(t, pipe, run, expectedOf(tensors, i), tolerance);
  });
