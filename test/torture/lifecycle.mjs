// Random operations on tensors, generators, modules and pipelines, disposed of at any moment, with forced collection in between:
// values are right, and errors are typed.
import {
  CHECKPOINT,
  fail,
  faultOf,
  figure,
  finish,
  library,
  randomizer,
  seed,
  settledMemory,
  times,
} from "./common.mjs";

const { Generator, LDMPipeline, op, opAsync, Tensor, DDIMScheduler, EulerDiscreteScheduler } = library;
const random = randomizer();
const held = { tensors: [], generators: [], pipes: [] };
const pick = (list) => list[random(list.length || 1)];
const drop = (list) => list.splice(random(list.length || 1), 1)[0];
const latents = () => Tensor.from(new Float32Array(192).fill(random(9) / 9), [1, 3, 8, 8]);

const OPERATIONS = {
  tensor: () => held.tensors.push(Tensor.from(new Float32Array(1 + random(5000)).fill(1))),
  operate: () => held.tensors.push(op("add.Scalar", pick(held.tensors), 1)),
  operateAsync: async () => held.tensors.push(await opAsync("mul.Scalar", pick(held.tensors), 1)),
  read: async () => {
    const values = await pick(held.tensors).data();
    if (!Number.isInteger(Number(values[0]))) fail(`a tensor holds ${values[0]}`);
  },
  convert: async () => held.tensors.push(await pick(held.tensors).to(["float64", "float32", "int64"][random(3)])),
  disposeTensor: () => drop(held.tensors)?.dispose(),
  forgetTensor: () => void drop(held.tensors),
  disposeTwice: () => {
    const tensor = pick(held.tensors);
    tensor?.dispose();
    tensor?.dispose();
  },
  generator: () => held.generators.push(Generator.fromSeed(random(1000))),
  draw: () => void pick(held.generators).randn([1 + random(100)]),
  state: () => {
    const generator = pick(held.generators);
    generator.setState(generator.getState());
  },
  disposeGenerator: () => drop(held.generators)?.dispose(),
  load: async () => {
    if (held.pipes.length > 3) drop(held.pipes).dispose();
    held.pipes.push(await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: random(2) === 0 }));
  },
  share: () => {
    const pipe = pick(held.pipes);
    if (pipe && held.pipes.length < 6) held.pipes.push(new LDMPipeline(pipe.components));
  },
  run: () => pick(held.pipes)?.generate({ numInferenceSteps: 1, seed: 1, batchSize: 1 + random(2) }),
  runAndDispose: async () => {
    const pipe = pick(held.pipes);
    const run = pipe?.generate({ numInferenceSteps: 2, seed: 1 });
    if (random(4) === 0) pipe?.dispose();
    await run;
  },
  abort: async () => {
    const controller = new AbortController();
    const run = pick(held.pipes)?.generate({ numInferenceSteps: 5, seed: 1, signal: controller.signal });
    setTimeout(() => controller.abort(), random(5));
    await run;
  },
  leave: async () => {
    for await (const { step } of pick(held.pipes)?.stream({ numInferenceSteps: 3, seed: 1 }) ?? []) if (step > 0) break;
  },
  forward: async () => {
    const result = await pick(held.pipes)?.unet.forward(latents(), random(1000));
    if (result && !Number.isFinite(Number((await result.sample.data())[0]))) fail("a forward gave no number");
  },
  move: () => pick(held.pipes)?.to(["float32", "float64", "bfloat16"][random(3)]),
  schedule: () => {
    const pipe = pick(held.pipes);
    if (pipe) pipe.scheduler = random(2) ? new DDIMScheduler({}) : new EulerDiscreteScheduler({});
  },
  disposePipe: () => (random(3) === 0 ? drop(held.pipes)?.dispose() : undefined),
};

const names = Object.keys(OPERATIONS);
/** An operation on nothing. */
const isOfNothing = (error) => error instanceof TypeError && /undefined/.test(error.message);
const codes = new Map();

async function operate(i) {
  const name = names[random(names.length)];
  try {
    await OPERATIONS[name]();
  } catch (error) {
    const fault = isOfNothing(error) ? undefined : faultOf(error);
    if (fault) fail(`${name}, operation ${i} of seed ${seed}: ${fault}`);
    else codes.set(error.code, (codes.get(error.code) ?? 0) + 1);
  }
}

const count = times(20_000, 1_500);

/** Operate so many times, then let go of everything. @returns the memory that is still taken, in MiB */
async function operateMany(from, to) {
  // Several at once, so that they meet.
  for (let i = from; i < to; i += 4) {
    await Promise.all([operate(i), operate(i + 1), operate(i + 2), operate(i + 3)]);
    if (i % 100 === 0) {
      globalThis.gc?.();
      // Finalizers run between turns of the event loop.
      await new Promise(setImmediate);
    }
    if (held.tensors.length > 200) held.tensors.splice(0, 100);
  }
  for (const list of Object.values(held)) list.splice(0).forEach((one) => one.dispose());
  return settledMemory();
}

// The first operations fill the caches of LibTorch, for each dtype and size.
const warm = count / 2 + times(0, 1_500);
const before = await operateMany(0, warm);
const after = await operateMany(warm, warm + count / 2);
figure("operations", warm + count / 2);
console.log(`typed errors: ${[...codes].map(([code, times]) => `${code ?? "of nothing"} ${times}`).join(", ")}`);
figure("memory that the second half left behind", after - before, { most: 32, unit: "MiB" });
finish();
