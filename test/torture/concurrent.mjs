// Calls of several workers at once, sharing the one executor: each picture equals that of the same call made alone.
import { isDeepStrictEqual } from "node:util";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";
import { fileURLToPath } from "node:url";
import { CHECKPOINT, fail, faultOf, figure, finish, library, randomizer, seed, times } from "./common.mjs";

const { Generator, LDMPipeline } = library;
const WORKERS = 8;
const each = times(25, 4);

/** The call of a number: all kinds of runs, of one or a few images. */
function callOf(number) {
  const random = randomizer(seed * 1000 + number);
  const batchSize = 1 + random(4);
  return {
    batchSize,
    numInferenceSteps: 1 + random(4),
    eta: random(2) / 2,
    outputType: "array",
    ...(random(2) ? { seed: number } : { seeds: Array.from({ length: batchSize }, (_, i) => number + i) }),
  };
}

async function run(pipe, number) {
  const { seeds, ...options } = callOf(number);
  const generator = seeds?.map((own) => Generator.fromSeed(own));
  const { images } = await pipe.generate({ ...options, ...(generator && { generator }) });
  return Array.from(images.data);
}

if (!isMainThread) {
  const pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  const numbers = Array.from({ length: each }, (_, i) => workerData * each + i);
  try {
    parentPort.postMessage(await Promise.all(numbers.map((number) => run(pipe, number))));
  } catch (error) {
    parentPort.postMessage(faultOf(error) ?? error.message);
  }
} else {
  const together = await Promise.all(
    Array.from(
      { length: WORKERS },
      (_, index) =>
        new Promise((resolve, reject) => {
          const worker = new Worker(fileURLToPath(import.meta.url), { workerData: index, argv: process.argv.slice(2) });
          worker.once("message", resolve);
          worker.once("error", reject);
        }),
    ),
  );
  const pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  let different = 0;
  for (const [index, pictures] of together.entries()) {
    if (typeof pictures === "string") fail(`worker ${index}: ${pictures}`);
    else
      for (const [i, picture] of pictures.entries())
        if (!isDeepStrictEqual(picture, await run(pipe, index * each + i))) different++;
  }
  figure(`calls of ${WORKERS} workers at once`, WORKERS * each);
  figure("that differ from those made alone", different, { most: 0 });
  pipe.dispose();
  finish();
}
