import { readdir } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { abortableResource } from "../../lib/errors.js";
import { UNet2DModel } from "../../lib/models/unet-2d/model.js";
import { VQModel } from "../../lib/models/vq/model.js";
import { LDMPipeline } from "../../lib/pipelines/ldm.js";

const CHECKPOINT = join(__dirname, "..", "fixtures", "pipelines", "tiny", "checkpoint");
const UNET = { subfolder: "unet" };
const QUICK = { numInferenceSteps: 2, seed: 1 };

t.test("what a signal ends is freed when it comes, and not before", async (t) => {
  const freed: string[] = [];
  const free = (value: string): void => void freed.push(value);
  t.equal(await abortableResource(Promise.resolve("in time"), undefined, free), "in time");
  const controller = new AbortController();
  t.equal(await abortableResource(Promise.resolve("in time"), controller.signal, free), "in time");
  let settle = (_: string): void => undefined;
  const late = abortableResource(
    new Promise<string>((resolve) => {
      settle = resolve;
    }),
    controller.signal,
    free,
  );
  controller.abort("enough");
  await t.rejects(late, { name: "AbortError", code: "ERR_ABORTED", cause: "enough" });
  t.strictSame(freed, []);
  settle("late");
  await new Promise(setImmediate);
  t.strictSame(freed, ["late"], "and what came in time is not freed by a later abort");
  await t.rejects(abortableResource(Promise.resolve("never wanted"), controller.signal, free), { name: "AbortError" });
  await new Promise(setImmediate);
  t.strictSame(freed, ["late", "never wanted"]);
  await t.rejects(abortableResource(Promise.reject(new RangeError("own")), undefined, free), RangeError);
});

t.test("fromPretrained, fromConfig, to, fromTorchScript and savePretrained end with their signal", async (t) => {
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  const folder = t.testdir();
  const config = pipe.unet.config;
  const calls: Record<string, (signal: AbortSignal) => Promise<unknown>> = {
    "LDMPipeline.fromPretrained": (signal) => LDMPipeline.fromPretrained(CHECKPOINT, { signal }),
    "UNet2DModel.fromPretrained": (signal) => UNet2DModel.fromPretrained(CHECKPOINT, { ...UNET, signal }),
    "UNet2DModel.fromConfig": (signal) => UNet2DModel.fromConfig(config, { signal }),
    "VQModel.fromPretrained": (signal) => VQModel.fromPretrained(join(CHECKPOINT, "vqvae"), { signal }),
    "LDMPipeline.to": (signal) => pipe.to({ dtype: "float64", signal }),
    "UNet2DModel.to": (signal) => pipe.unet.to("float64", { signal }),
    "LDMPipeline.savePretrained": (signal) => pipe.savePretrained(join(folder, "pipeline"), { signal }),
    "UNet2DModel.savePretrained": (signal) => pipe.unet.savePretrained(join(folder, "unet"), { signal }),
    "LDMPipeline.fromTorchScript": (signal) =>
      LDMPipeline.fromTorchScript({
        unet: pipe.unet.module,
        vqDecoder: pipe.vqvae.module,
        scheduler: pipe.scheduler,
        config: { in_channels: 3 },
        trusted: true,
        signal,
      }),
  };
  for (const [name, call] of Object.entries(calls)) {
    await t.rejects(call(AbortSignal.abort("before")), { name: "AbortError", cause: "before" }, `${name}, before`);
    if (name.endsWith("fromTorchScript")) continue;
    const controller = new AbortController();
    const pending = call(controller.signal);
    controller.abort("meanwhile");
    await t.rejects(pending, { name: "AbortError", cause: "meanwhile" }, `${name}, at once`);
    await t.rejects(
      call(5 as never),
      { code: "ERR_INVALID_ARGUMENT", message: /an AbortSignal for signal/ },
      `${name}, no signal`,
    );
  }
  t.strictSame([pipe.unet.dtype, pipe.vqvae.dtype], ["float32", "float32"], "nothing moved");
  t.strictSame(
    (await readdir(folder, { recursive: true })).sort(),
    ["pipeline", "pipeline/unet", "unet"],
    "no file was left, nor a part of one",
  );
  const before = await pipe.generate({ ...QUICK, outputType: "array" });
  await pipe.to("float64");
  t.equal(pipe.dtype, "float64", "moves that were given up do not hold the next one up");
  await pipe.to("float32");
  t.strictSame((await pipe.generate({ ...QUICK, outputType: "array" })).images.data, before.images.data);
});

/** A signal as another realm has it, and its listeners. */
function foreignSignal() {
  const listeners = new Set<() => void>();
  const foreign = {
    aborted: false,
    reason: undefined as unknown,
    addEventListener: (_: string, listener: () => void) => listeners.add(listener),
    removeEventListener: (_: string, listener: () => void) => listeners.delete(listener),
  };
  return { foreign, listeners };
}

t.test("a run leaves no listener on its signal, however it ends", async (t) => {
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  const { foreign, listeners } = foreignSignal();
  const options = { ...QUICK, signal: foreign as never };
  await pipe.generate(options);
  t.equal(listeners.size, 0, "generate");

  pipe.stream(options);
  t.equal(listeners.size, 0, "a stream that nobody began");

  let most = 0;
  for await (const _ of pipe.stream(options)) most = Math.max(most, listeners.size);
  t.ok(most > 0, "the run listened");
  t.equal(listeners.size, 0, "a stream that ended");

  for await (const _ of pipe.stream(options)) break;
  t.equal(listeners.size, 0, "a stream that was left");

  const waiting = pipe.stream(options);
  const step = waiting.next();
  await waiting.return();
  await step;
  t.equal(listeners.size, 0, "a stream that was left during a step");

  const error = new Error("mine");
  const failing = { ...options, onProgress: () => Promise.reject(error) };
  await t.rejects(pipe.generate(failing), error);
  t.equal(listeners.size, 0, "generate that failed");

  const other = await LDMPipeline.fromPretrained(CHECKPOINT);
  const failed = other.stream(options);
  await failed.next();
  other.dispose();
  await t.rejects(failed.next(), { code: "ERR_DISPOSED" });
  t.equal(listeners.size, 0, "a stream that failed");

  foreign.aborted = true;
  t.throws(() => pipe.stream(options), { name: "AbortError" });
  t.equal(listeners.size, 0, "a stream that was aborted before");
});

t.test("a signal of another realm ends a run and a stream", async (t) => {
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  const { foreign, listeners } = foreignSignal();
  const stream = pipe.stream({ ...QUICK, signal: foreign as never });
  await stream.next();
  foreign.aborted = true;
  foreign.reason = "elsewhere";
  listeners.forEach((listener) => listener());
  await t.rejects(stream.next(), { name: "AbortError", cause: "elsewhere" });
  await t.rejects(pipe.generate({ ...QUICK, signal: foreign as never }), { name: "AbortError", cause: "elsewhere" });
});

t.test("the output is a tuple of one", async (t) => {
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  const output = await pipe.generate(QUICK);
  // With noUncheckedIndexedAccess a plain iterable would give `undefined` too.
  const [images] = output;
  const count: number = images.length;
  t.equal(count, 1);
  t.equal(output[0], output.images);
  const [array] = await pipe.generate({ ...QUICK, outputType: "array" });
  t.ok(array.data instanceof Float32Array);
});
