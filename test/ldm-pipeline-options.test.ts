import { join } from "node:path";
import t from "tap";
import { LDMPipeline } from "../lib/pipelines/ldm-pipeline.js";

const CHECKPOINT = join(__dirname, "fixtures", "pipelines", "tiny", "checkpoint");
const QUICK = { numInferenceSteps: 2, seed: 1 };

/** What JavaScript callers pass. */
const wrong = (value: unknown): never => value as never;

t.test("the stack of a run's error starts with the caller, however deep the work was", async (t) => {
  const pipe = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: false });
  t.teardown(() => pipe.dispose());
  const limit = Error.stackTraceLimit;
  t.teardown(() => { Error.stackTraceLimit = limit; });
  Error.stackTraceLimit = 10;
  const startsWithCaller = /^[^\n]*\n +at theCaller/;
  async function theCaller(options: object): Promise<void> {
    await pipe.generate(options);
  }
  await t.rejects(theCaller({ ...QUICK, batchSize: 1e12 }), { code: "ERR_OUT_OF_MEMORY", stack: startsWithCaller });
  await t.rejects(theCaller({ ...QUICK, batchSize: 0 }), { code: "ERR_INVALID_ARGUMENT", stack: startsWithCaller });
  const controller = new AbortController();
  const onProgress = (): void => controller.abort();
  await t.rejects(theCaller({ ...QUICK, signal: controller.signal, onProgress }), { code: "ERR_ABORTED", stack: startsWithCaller });
  await t.rejects(theCaller({ ...QUICK, onProgress: () => { throw new RangeError("own"); } }), { name: "RangeError", stack: /onProgress/ }, "whose error it is keeps its stack");
  const streaming = async function theCaller(options: object): Promise<void> {
    for await (const { step } of pipe.stream(options)) t.fail(`step ${step}`);
  };
  await t.rejects(streaming({ ...QUICK, batchSize: 1e12 }), { code: "ERR_OUT_OF_MEMORY", stack: startsWithCaller });
  await t.rejects(streaming(wrong({ seed: 1.5 })), { code: "ERR_INVALID_ARGUMENT", stack: startsWithCaller });
});
