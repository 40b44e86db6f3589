import { join } from "node:path";
import t from "tap";
import { LDMPipeline } from "../../lib/pipelines/ldm.js";
import { DDIMScheduler } from "../../lib/schedulers/ddim.js";
import { Tensor } from "../../lib/torch/tensor.js";

const CHECKPOINT = join(__dirname, "..", "fixtures", "pipelines", "tiny", "checkpoint");
const QUICK = { numInferenceSteps: 3, seed: 1 };

/** What JavaScript callers pass. */
const wrong = (value: unknown): never => value as never;

/** A promise that holds open until the event loop has turned, so that work in the queue can begin. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

t.test("shared parts move together, and are freed with their last pipeline", async (t) => {
  const first = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: false });
  const second = new LDMPipeline({
    ...first.components,
    scheduler: DDIMScheduler.fromConfig(first.scheduler.config, { timestep_spacing: "trailing" }),
  });
  t.equal(await first.to("float64"), first);
  t.equal(second.dtype, "float64");
  t.equal(second.vqvae.dtype, "float64");
  first.dispose();
  first.dispose();
  await t.rejects(first.generate(QUICK), { code: "ERR_DISPOSED" });
  t.throws(() => first.stream(), { code: "ERR_DISPOSED" });
  await t.rejects(first.to("float32"), { code: "ERR_DISPOSED" });
  await t.resolves(second.generate(QUICK), "the other still has them");
  t.notOk(second.unet.disposed);
  second.dispose();
  t.ok(second.unet.disposed && second.vqvae.disposed);
  t.throws(() => new LDMPipeline({ ...second.components }), { code: "ERR_DISPOSED" });
});

t.test("an explicit dispose of a part wins over its pipelines", async (t) => {
  const pipe = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: false });
  pipe.vqvae.dispose();
  await t.rejects(pipe.generate(QUICK), { code: "ERR_DISPOSED", message: /vqvae/ });
  pipe.dispose();
});

t.test("a move that fails half way leaves everything where it was", async (t) => {
  const pipe = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: false });
  t.teardown(() => pipe.dispose());
  const stubborn = Object.create(pipe.vqvae, {
    stage: {
      value: async () => {
        throw new Error("no room");
      },
    },
  }) as typeof pipe.vqvae;
  const broken = new LDMPipeline({ ...pipe.components, vqvae: stubborn });
  await t.rejects(broken.to("bfloat16"), { message: "no room" });
  t.equal(pipe.unet.dtype, "float32", "the unet was ready and did not switch");
  await t.rejects(pipe.to(wrong("float12")), { code: "ERR_INVALID_ARGUMENT" });
  await Promise.all([pipe.to("float64"), pipe.to("cpu", "bfloat16"), pipe.to("bfloat16", "cpu")]);
  t.strictSame([pipe.unet.dtype, pipe.vqvae.dtype], ["bfloat16", "bfloat16"], "moves take their turn");
});

t.test("a run goes on at the new place, and ends when its pipeline does", async (t) => {
  const pipe = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: false });
  const moving = await pipe.generate({
    ...QUICK,
    outputType: "tensor",
    onProgress: ({ step }) => (step === 2 ? pipe.to("float64") : undefined),
  });
  t.equal(moving.images.dtype, "float64");
  const running = pipe.generate({
    numInferenceSteps: 50,
    onProgress: ({ step }) => (step === 2 ? pipe.dispose() : undefined),
  });
  await t.rejects(running, { code: "ERR_DISPOSED" });
  const other = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: false });
  const queued = other.generate({ numInferenceSteps: 50 });
  await turn();
  other.dispose();
  await t.rejects(queued, { code: "ERR_DISPOSED" }, "while a step is running");
});

t.test("networks of unlike dtypes: latents are cast on the way", async (t) => {
  const pipe = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: false });
  t.teardown(() => pipe.dispose());
  await pipe.vqvae.to("float64");
  const { images } = await pipe.generate({ ...QUICK, outputType: "tensor" });
  t.equal(images.dtype, "float64");
  t.ok((await images.data()).every((value) => Number(value) >= 0 && Number(value) <= 1));
});

t.test("a tensor that was given is the caller's", async (t) => {
  const pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  const { images } = await pipe.generate({ ...QUICK, outputType: "tensor" });
  pipe.dispose();
  t.ok(images instanceof Tensor && (await images.data()).length === 768, "it outlives the pipeline");
});

t.test("a move while pictures are decoded does not end the run", async (t) => {
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  let move: Promise<unknown> | undefined;
  const run = pipe.generate({
    batchSize: 6,
    numInferenceSteps: 1,
    seed: 1,
    outputType: "tensor",
    onProgress: () => {
      move = pipe.to("float64");
    },
  });
  const { images } = await run;
  await move;
  t.strictSame(images.shape.slice(0, 2), [6, 3]);
  t.equal(pipe.dtype, "float64");
});

t.test("moves of a pipeline and of its part take their turn", async (t) => {
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  using twin = new LDMPipeline({ ...pipe.components });
  await Promise.all([pipe.to("float64"), pipe.unet.to("bfloat16")]);
  t.strictSame([pipe.unet.dtype, pipe.vqvae.dtype], ["bfloat16", "float64"], "the part was asked last");
  await Promise.all([
    pipe.unet.to("float64"),
    pipe.to("float32"),
    twin.vqvae.to("float64"),
    twin.to({ dtype: "bfloat16", optimize: false }),
  ]);
  t.strictSame([pipe.unet.dtype, pipe.vqvae.dtype, pipe.unet.optimize], ["bfloat16", "bfloat16", false]);
  await t.rejects(pipe.to(wrong("float12")), {
    code: "ERR_INVALID_ARGUMENT",
    message: /"cuda:<index>", "float32".* but received "float12"/,
  });
});

t.test("of two moves at once the last one stands", async (t) => {
  using pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  await Promise.all([pipe.unet.to("float64"), pipe.unet.to("bfloat16"), pipe.unet.to("float32")]);
  t.equal(pipe.unet.dtype, "float32");
});
