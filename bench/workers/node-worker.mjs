// This package behind the line protocol of bench/worker.mjs: one JSON request a line, one JSON reply a line.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const begun = performance.now();

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

const worker = {
  async start({ model, threads, optimize, dtype }) {
    const { configure, Generator, LDMPipeline, runtimeInfo } = await import("../../dist/index.mjs");
    configure({ threads });
    const { libtorch, cpuCapability } = runtimeInfo();
    const imported = seconds(begun);
    const loading = performance.now();
    Object.assign(state, { Generator, pipe: await LDMPipeline.fromPretrained(model, { optimize, dtype }) });
    return { import: imported, load: seconds(loading), libtorch: libtorch.version, cpuCapability, node: process.version };
  },

  async begin({ steps, seed }) {
    const { unet, scheduler } = state.pipe;
    const { in_channels: channels, sample_size: size } = unet.config;
    state.latents = await state.Generator.fromSeed(seed).randn([1, channels, size, size]).to(unet.dtype);
    scheduler.setTimesteps(steps);
    state.remaining = [...scheduler.timesteps];
    return {};
  },

  async step() {
    const { unet, scheduler } = state.pipe;
    const since = performance.now();
    const timestep = state.remaining.shift();
    const { sample } = await unet.forward(scheduler.scaleModelInput(state.latents, timestep), timestep);
    const { prevSample, predOriginalSample } = scheduler.step(sample, timestep, state.latents);
    for (const tensor of [state.latents, sample, predOriginalSample]) tensor.dispose();
    state.latents = prevSample;
    return { seconds: seconds(since) };
  },

  async decode() {
    const since = performance.now();
    const { sample } = await state.pipe.vqvae.decode(state.latents);
    await sample.data();
    sample.dispose();
    return { seconds: seconds(since) };
  },

  async generate({ steps, seed }) {
    const since = performance.now();
    await state.pipe.generate({ batchSize: 1, numInferenceSteps: steps, generator: state.Generator.fromSeed(seed) });
    return { seconds: seconds(since) };
  },

  memory: () => ({ peak: peakMemory() }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...request } = JSON.parse(line);
  process.stdout.write(`${JSON.stringify(await worker[name](request))}\n`);
}
