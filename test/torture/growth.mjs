// Many runs, and many loads and disposals: memory must not grow with them.
import { CHECKPOINT, figure, finish, library, settledMemory, times } from "./common.mjs";

const { LDMPipeline } = library;
const RUN = { numInferenceSteps: 2, seed: 1 };

async function grownBy(count, round) {
  // The first ones fill caches.
  for (let i = 0; i < Math.ceil(count / 5); i++) await round(i);
  const before = await settledMemory();
  for (let i = 0; i < count; i++) await round(i);
  return (await settledMemory()) - before;
}

const pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
const runs = times(1000, 100);
const byRuns = await grownBy(runs, async (i) => {
  const controller = new AbortController();
  const run = pipe.generate({ ...RUN, batchSize: 1 + (i % 3), signal: controller.signal });
  // Some are given up.
  if (i % 10 === 9) controller.abort();
  await run.catch(({ name }) => {
    if (name !== "AbortError") throw new Error(`a run ended with ${name}`);
  });
});
figure(`growth over ${runs} runs`, byRuns, { most: 16, unit: "MiB" });

const cycles = times(200, 20);
const byCycles = await grownBy(cycles, async (i) => {
  const own = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: i % 2 === 0 });
  if (i % 4 === 0) await own.to("float64");
  if (i % 4 === 1) await own.generate(RUN);
  own.dispose();
});
figure(`growth over ${cycles} loads and disposals`, byCycles, { most: 32, unit: "MiB" });
pipe.dispose();
finish();
