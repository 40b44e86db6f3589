import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import t, { type Test } from "tap";
import { configure } from "../../lib/native/open.js";
import { LDMPipeline } from "../../lib/pipelines/ldm.js";
import { ScriptModule } from "../../lib/torch/script-module.js";
import { Tensor } from "../../lib/torch/tensor.js";

const CHECKPOINT = join(__dirname, "..", "fixtures", "pipelines", "tiny", "checkpoint");
const SIDE = 128;
/** Rounds of a forward that is long beside all that a test queues meanwhile. */
const LONG = 1000;

const ones = Tensor.from(new Float32Array(SIDE * SIDE).fill(1), [SIDE, SIDE]);

/** A module whose forward is work of any length. */
function defineWork(): Promise<ScriptModule> {
  const source = [
    "def forward(self, x, rounds: int):",
    "    for _ in range(rounds):",
    "        x = torch.cos(torch.matmul(x, x))",
    "    return x",
  ].join("\n");
  return ScriptModule.define({ name: "Work", source, parameters: [], children: [] }, new Map());
}

/** Which of the calls ended, in this order. */
function endings(calls: Readonly<Record<string, Promise<unknown>>>): Promise<string[]> {
  const ended: string[] = [];
  const noted = Object.entries(calls).map(async ([name, call]) => {
    await call;
    ended.push(name);
  });
  return Promise.all(noted).then(() => ended);
}

const codesOf = (settled: readonly PromiseSettledResult<unknown>[]): string[] =>
  settled.map((one) => (one.status === "fulfilled" ? "done" : (one.reason as { code: string }).code));

t.test("callers take turns, each one's calls in their order", async (t) => {
  using work = await defineWork();
  using other = await defineWork();
  using blocker = await defineWork();
  const [one, two] = [new AbortController(), new AbortController()];
  const call = (signal?: AbortSignal, module = work): Promise<unknown> => module.call("forward", [ones, 1], { signal });
  const order = await endings({
    block: blocker.forward(ones, LONG),
    a1: call(one.signal),
    a2: call(one.signal),
    a3: call(one.signal),
    b1: call(two.signal),
    c1: call(undefined, other),
    c2: call(undefined, other),
    b2: call(two.signal),
    d1: call(),
    a4: call(one.signal),
  });
  t.strictSame(order, ["block", "a1", "b1", "c1", "d1", "a2", "b2", "c2", "a3", "a4"]);
});

t.test("a small run does not wait behind a flood of another caller", async (t) => {
  using work = await defineWork();
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  const steps = 3;
  let flooding = 0;
  const flood = Array.from({ length: 300 }, async () => {
    await work.forward(ones, 20);
    flooding++;
  });
  await pipe.generate({ numInferenceSteps: steps, seed: 1 });
  // Each of its few dozen jobs waited for one of the flood's.
  t.ok(flooding < 150, `${flooding} of 300 forwards were done before it`);
  await Promise.all(flood);
});

t.test("a run of one image does not wait for another caller's whole batch", async (t) => {
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  const order = await endings({
    batch: pipe.generate({ numInferenceSteps: 1, seed: 1, batchSize: 24 }),
    one: pipe.generate({ numInferenceSteps: 1, seed: 2 }),
  });
  t.strictSame(order, ["one", "batch"], "decoded between the images of the batch");
});

/** Keep the executor busy, and wait until it is: what is queued next waits. */
async function occupy(work: ScriptModule): Promise<Promise<unknown>[]> {
  const busy = [work.forward(ones, 4 * LONG)];
  await setTimeout(100);
  return busy;
}

/** Let no more than `maxQueue` forwards wait during a test. */
function limitQueue(t: Test, maxQueue: number): void {
  configure({ maxQueue });
  t.teardown(() => configure({ maxQueue: 1024 }));
}

t.test("more forwards than maxQueue are refused, and those that were taken are done", async (t) => {
  limitQueue(t, 4);
  using work = await defineWork();
  const busy = await occupy(work);
  const settled = codesOf(await Promise.allSettled(Array.from({ length: 20 }, () => work.forward(ones, 1))));
  t.strictSame(settled, [...new Array<string>(4).fill("done"), ...new Array<string>(16).fill("ERR_QUEUE_FULL")]);
  await Promise.all(busy);
  t.ok(await work.forward(ones, 1), "and the next call is taken again");
});

t.test("a run that has begun is never refused, one that begins is", async (t) => {
  limitQueue(t, 2);
  using work = await defineWork();
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  const stream = pipe.stream({ numInferenceSteps: 2, seed: 1 });
  await stream.next();
  const busy = await occupy(work);
  const flood = Array.from({ length: 5 }, () => work.forward(ones, 1));
  const { signal } = new AbortController();
  const latents = Tensor.from(new Float32Array(3 * 8 * 8), [1, 3, 8, 8]);
  const [late, next] = await Promise.allSettled([
    pipe.unet.forward(latents, 1, { signal }),
    stream.next(),
    ...flood,
    ...busy,
  ]);
  t.strictSame(codesOf([late, next]), ["ERR_QUEUE_FULL", "done"]);
  t.match(late, { reason: { message: /at most 2 forwards that wait for cpu \(maxQueue\)/ } });
  const last = await stream.next();
  t.equal(last.value?.images?.length, 1);
});

t.test("calls that were aborted make room", async (t) => {
  limitQueue(t, 2);
  using work = await defineWork();
  const controller = new AbortController();
  const busy = await occupy(work);
  const waiting = Promise.allSettled(
    Array.from({ length: 2 }, () => work.call("forward", [ones, 1], { signal: controller.signal })),
  );
  await t.rejects(work.forward(ones, 1), { code: "ERR_QUEUE_FULL" });
  controller.abort();
  await t.resolves(work.forward(ones, 1));
  await Promise.all(busy);
  t.strictSame(codesOf(await waiting), ["ERR_ABORTED", "ERR_ABORTED"]);
});

t.test("maxQueue is a number of calls", (t) => {
  for (const maxQueue of [0, -1, 1.5, NaN, Infinity, "4", null]) {
    t.throws(() => configure({ maxQueue: maxQueue as number }), { code: "ERR_INVALID_ARGUMENT", message: /maxQueue/ });
  }
  t.end();
});
