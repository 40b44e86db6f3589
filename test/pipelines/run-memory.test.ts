import { join } from "node:path";
import t from "tap";
import { LDMPipeline } from "../../lib/pipelines/ldm.js";
import { estimateRun } from "../../lib/pipelines/shared/memory.js";

const CHECKPOINT = join(__dirname, "..", "fixtures", "pipelines", "tiny", "checkpoint");

t.test("a run beyond the memory that is left is refused at once, with the estimate", async (t) => {
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  for (const options of [
    { batchSize: 1e9 },
    { height: 2 ** 20, width: 2 ** 20 },
    { batchSize: Number.MAX_SAFE_INTEGER },
  ]) {
    const began = performance.now();
    await t.rejects(pipe.generate({ ...options, seed: 1 }), {
      code: "ERR_OUT_OF_MEMORY",
      message: /Expected a run that fits into the [\d.]+ GiB .* at least [\d.e+]+ GiB: \d+ images? of/,
    });
    t.throws(() => pipe.stream({ ...options, seed: 1 }), { code: "ERR_OUT_OF_MEMORY" }, "stream too");
    t.ok(performance.now() - began < 1000, "before any work");
  }
  await t.resolves(pipe.generate({ batchSize: 3, numInferenceSteps: 1, seed: 1 }), "the next smaller one runs");
});

t.test("the estimate grows with the batch, the size and the width of the numbers", async (t) => {
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  const one = estimateRun(pipe, [1, 3, 8, 8], "image");
  t.ok(one > 3 * 64 * 4, "more than the noise alone");
  t.ok(estimateRun(pipe, [100, 3, 8, 8], "image") > 20 * one);
  t.ok(estimateRun(pipe, [1, 3, 16, 16], "image") >= 4 * one);
  await pipe.to("float64");
  t.ok(estimateRun(pipe, [1, 3, 8, 8], "image") > one);
});
