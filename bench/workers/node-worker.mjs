// This package behind the line protocol of bench/worker.mjs: one JSON request a line, one JSON reply a line.
import { readFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { createInterface } from "node:readline";

const begun = performance.now();
/** Relative errors, as in peer.py. */
const TOLERANCE = { float32: 1e-3, bfloat16: 6e-2 };

/** The high-water mark of this process' resident memory, in MiB. */
function peakMemory() {
  try {
    return Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))[1]) / 1024;
  } catch {
    return process.resourceUsage().maxRSS / 1024;
  }
}

const seconds = (since) => (performance.now() - since) / 1000;
const state = {};

async function timed(work) {
  const since = performance.now();
  (await work()).sample.dispose();
  return seconds(since);
}

function noise(seed, batch = 1, halves = 2) {
  const { in_channels: channels, sample_size: size } = state.pipe.unet.config;
  const side = Math.floor((size * halves) / 2);
  return state.Generator.fromSeed(seed).randn([batch, channels, side, side]).to(state.pipe.unet.dtype);
}

/** Keep JavaScript running until told to stop, looking at what has happened every few milliseconds. */
function keepBusy() {
  let stopped = false;
  const spin = () => {
    const until = performance.now() + 5;
    while (performance.now() < until);
    if (!stopped) setImmediate(spin);
  };
  spin();
  return () => (stopped = true);
}

/** Add up what the calls of a network take, from the call to the answer. */
function addUp(network, method, sum) {
  const original = network[method];
  network[method] = async (...args) => {
    const since = performance.now();
    try {
      return await original.apply(network, args);
    } finally {
      sum.seconds += seconds(since);
    }
  };
}

/** @returns {Map<string, { values: Float32Array, shape: number[] }>} the float32 tensors of a safetensors file */
function readExpected(file) {
  const bytes = readFileSync(file);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length));
  return new Map(
    Object.entries(header)
      .filter(([, { dtype }]) => dtype === "F32")
      .map(
        ([
          name,
          {
            shape,
            data_offsets: [from, to],
          },
        ]) => [
          name,
          {
            shape,
            values: new Float32Array(
              bytes.buffer.slice(bytes.byteOffset + 8 + length + from, bytes.byteOffset + 8 + length + to),
            ),
          },
        ],
      ),
  );
}

function relativeError(found, wanted) {
  let [off, whole] = [0, 0];
  for (const [i, value] of wanted.entries()) {
    off += (found[i] - value) ** 2;
    whole += value ** 2;
  }
  return Math.sqrt(off / whole);
}

const worker = {
  async start({ model, threads, optimize, dtype }) {
    const { configure, Generator, LDMPipeline, Tensor } = await import("../../dist/index.mjs");
    configure({ threads });
    const imported = seconds(begun);
    const loading = performance.now();
    Object.assign(state, {
      Generator,
      Tensor,
      model,
      pipe: await LDMPipeline.fromPretrained(model, { optimize, dtype }),
    });
    return { import: imported, load: seconds(loading) };
  },

  async versions() {
    const { runtimeInfo } = await import("../../dist/index.mjs");
    const { libtorch, cpuCapability } = runtimeInfo();
    return { libtorch: libtorch.version, cpuCapability, node: process.version };
  },

  async begin({ steps, seed }) {
    const { scheduler } = state.pipe;
    state.latents = await noise(seed);
    scheduler.setTimesteps(steps);
    state.remaining = [...scheduler.timesteps];
    return {};
  },

  async step({ busy = false }) {
    const { unet, scheduler } = state.pipe;
    const stop = busy ? keepBusy() : () => {};
    const since = performance.now();
    const timestep = state.remaining.shift();
    const { sample } = await unet.forward(scheduler.scaleModelInput(state.latents, timestep), timestep);
    const { prevSample, predOriginalSample } = scheduler.step(sample, timestep, state.latents);
    const reply = { seconds: seconds(since) };
    stop();
    for (const tensor of [state.latents, sample, predOriginalSample]) tensor.dispose();
    state.latents = prevSample;
    return reply;
  },

  async decode() {
    const since = performance.now();
    const { sample } = await state.pipe.vqvae.decode(state.latents);
    await sample.data();
    sample.dispose();
    return { seconds: seconds(since) };
  },

  /** `watched`: also what the networks took, and the 99th percentile of the event loop's delay in milliseconds. */
  async generate({ steps, seed, watched = false }) {
    const { unet, vqvae } = state.pipe;
    const networks = { seconds: 0 };
    const delay = monitorEventLoopDelay({ resolution: 1 });
    if (watched) {
      addUp(unet, "forward", networks);
      addUp(vqvae, "decode", networks);
      delay.enable();
    }
    const since = performance.now();
    await state.pipe.generate({ batchSize: 1, numInferenceSteps: steps, generator: state.Generator.fromSeed(seed) });
    const reply = { seconds: seconds(since) };
    delay.disable();
    return watched ? { ...reply, networks: networks.seconds, delay: delay.percentile(99) / 1e6 } : reply;
  },

  async shape({ what, batch, halves, later }) {
    const { unet, vqvae } = state.pipe;
    const latents = await noise(0, batch, halves);
    const call = () => timed(() => (what === "step" ? unet.forward(latents, 1) : vqvae.decode(latents)));
    const first = await call();
    const times = [];
    for (let i = 0; i < later; i++) times.push(await call());
    latents.dispose();
    return { first, later: times.sort((a, b) => a - b)[later >> 1] };
  },

  /** As check of peer.py. */
  async check() {
    const { unet, vqvae } = state.pipe;
    const given = readExpected(`${state.model}/exports/expected/expected.safetensors`);
    const errors = {};
    for (const [name, input] of [
      ["step", "latents"],
      ["decode", "codes"],
    ]) {
      const { values, shape } = given.get(input);
      const x = await state.Tensor.from(values, shape).to(unet.dtype);
      const { sample } = name === "step" ? await unet.forward(x, 500) : await vqvae.decode(x);
      errors[name] = relativeError(await (await sample.to("float32")).data(), given.get(name).values);
    }
    const limit = TOLERANCE[unet.dtype];
    if (!(Math.max(...Object.values(errors)) <= limit))
      throw new Error(`Expected relative errors up to ${limit} but received ${JSON.stringify(errors)}`);
    return errors;
  },

  memory: () => ({ peak: peakMemory() }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...request } = JSON.parse(line);
  process.stdout.write(`${JSON.stringify(await worker[name](request))}\n`);
}
