// Workers that are terminated at any moment: the process lives on, makes the same picture, and does not wait for them.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";
import { fileURLToPath } from "node:url";
import {
  CHECKPOINT,
  fail,
  figure,
  finish,
  library,
  quantile,
  randomizer,
  settledMemory,
  sleep,
  times,
} from "./common.mjs";

const { LDMPipeline } = library;

/** What a worker does for ever. */
const WORK = {
  load: async () => {
    for (;;) (await LDMPipeline.fromPretrained(CHECKPOINT)).dispose();
  },
  step: async () => {
    const pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
    parentPort.postMessage("begun");
    for (;;) await Promise.all([1, 8].map((batchSize) => pipe.generate({ batchSize, seed: 1, numInferenceSteps: 20 })));
  },
  save: async () => {
    const pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
    parentPort.postMessage("begun");
    for (;;) {
      await pipe.savePretrained(join(workerData.folder, "model"));
      await pipe.unet.module.save(join(workerData.folder, "net.pt"));
    }
  },
};

if (!isMainThread) {
  if (workerData.what === "load") parentPort.postMessage("begun");
  await WORK[workerData.what]();
} else {
  const folder = mkdtempSync(join(tmpdir(), "latent-diffusion-torture-"));
  const random = randomizer();
  const pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  const picture = async () => (await pipe.generate({ seed: 3, numInferenceSteps: 2, outputType: "array" })).images.data;
  const expected = await picture();
  const count = times(100, 8);
  let before;
  for (const what of Object.keys(WORK)) {
    const waits = [];
    for (let i = 0; i < count; i++) {
      const worker = new Worker(fileURLToPath(import.meta.url), {
        workerData: { what, folder: mkdtempSync(join(folder, "worker-")) },
        argv: process.argv.slice(2),
      });
      await new Promise((resolve, reject) => {
        worker.once("message", resolve);
        worker.once("error", reject);
      });
      await sleep(random(what === "load" ? 600 : 100));
      const began = performance.now();
      await worker.terminate();
      waits.push(performance.now() - began);
      if (!isDeepStrictEqual(await picture(), expected)) fail(`${what} ${i}: another picture after it`);
      before ??= i === Math.floor(count / 2) ? await settledMemory() : undefined;
    }
    figure(`terminations, mid-${what}`, count);
    figure("p99 of the wait", quantile(waits, 0.99), { unit: "ms" });
    // A step of this network takes a few milliseconds; a busy machine may add to one wait, not to half of them.
    figure("median of the wait", quantile(waits, 0.5), { most: 100, unit: "ms" });
  }
  figure("memory that they left behind", (await settledMemory()) - before, { most: 64, unit: "MiB" });
  pipe.dispose();
  rmSync(folder, { recursive: true });
  finish();
}
