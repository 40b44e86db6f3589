// Every public function with odd values for each of its arguments and options: typed errors only, soon.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runInNewContext } from "node:vm";
import { CHECKPOINT, fail, faultOf, figure, finish, library, quick } from "./common.mjs";

const { Generator, Image, LDMPipeline, ScriptModule, Tensor, UNet2DModel, VQModel, configure, makeGrid, op, opAsync } =
  library;

const throwing = new Proxy(
  {},
  {
    get: () => {
      throw new Error("a trap");
    },
  },
);
const revoked = Proxy.revocable({}, {});
revoked.revoke();
const cycle = {};
cycle.self = cycle;
const deep = () => {
  let value = {};
  for (let i = 0; i < 10_000; i++) value = { value };
  return value;
};
const sparse = [];
sparse.length = 2 ** 32 - 1;

const ODD = [
  ...[undefined, null, true, false, 0, -0, 1, -1, 2, 0.5, NaN, Infinity, -Infinity, 1e9, 1e308, 5e-324],
  ...[2 ** 31, 2 ** 32, 2 ** 53, 2 ** 53 - 1, -(2 ** 63), 0n, 1n, -1n, 2n ** 64n, 10n ** 1000n],
  ...["", "x", "0", "1", "cpu", "cuda", "cuda:99", "float32", "float8", "\0", "../..", "/dev/null", "__proto__"],
  ...["constructor", "x".repeat(100_000), "\ud800", "image", "NaN", "file:///x", "data:,x"],
  ...[[], [[]], [1], [1, 2, 3], ["x"], [undefined], [NaN], [-1], [1e15], [[1, 2], [3]], sparse, new Array(5)],
  ...[{}, { a: 1 }, { length: 3 }, { length: -1 }, { shape: [1] }, { then: 1 }, { signal: 1 }, { toString: null }],
  ...[Object.create(null), Object.create({ batchSize: 1 }), throwing, revoked.proxy, cycle, deep(), globalThis],
  ...[
    () => 0,
    class Odd extends Array {},
    Symbol("x"),
    Symbol.iterator,
    new Map([[1, 2]]),
    new Set([1]),
    new WeakMap(),
    new Date(NaN),
  ],
  ...[/x/, new Error("x"), new Promise(() => undefined), Promise.resolve(1), new URL("https://example.com/x")],
  ...[new URL("file:///nowhere"), Buffer.alloc(0), new Uint8Array(3), new Float32Array(4), new Float64Array(1)],
  ...[new BigInt64Array(2), new BigUint64Array(2), new Uint16Array(2), new ArrayBuffer(8), new SharedArrayBuffer(8)],
  ...[new DataView(new ArrayBuffer(4)), AbortSignal.abort(), runInNewContext("[1, 2]"), runInNewContext("({})")],
  ...[
    new Proxy([], {}),
    Object.freeze([1]),
    new String("cpu"),
    new Number(1),
    Tensor.from([1, 2]),
    Generator.fromSeed(1),
  ],
];

const folder = mkdtempSync(join(tmpdir(), "latent-diffusion-torture-"));
const pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
const image = Image.from(new Uint8Array(48), { width: 4, height: 4, channels: 3 });
const x = Tensor.from([1, 2, 3]);
const latents = op("ones", [1, 3, 8, 8]);
const schedulers = Object.entries(library).filter(([name]) => /Scheduler$/.test(name));
const RUN = { numInferenceSteps: 1, seed: 1 };

/** Each call takes odd values in the place of every argument, or of every option, one at a time. */
const CALLS = {
  "Tensor.from": [(a, b, c) => Tensor.from(a, b, c), [[1, 2], [2], { dtype: "float64" }]],
  "Tensor.to": [(a) => x.to(a), ["float64"]],
  "Generator.fromSeed": [(a, b) => Generator.fromSeed(a, b), [1, "cpu"]],
  "Generator.randn": [(a, b) => Generator.fromSeed(1).randn(a, b), [[2], { dtype: "float32" }]],
  "Generator.rand": [(a, b) => Generator.fromSeed(1).rand(a, b), [[2], { dtype: "float32" }]],
  "Generator.setState": [(a) => Generator.fromSeed(1).setState(a), [Generator.fromSeed(1).getState()]],
  op: [(a, b, c) => op(a, b, c), ["add.Scalar", x, 1]],
  opAsync: [(a, b, c) => opAsync(a, b, c), ["mul.Tensor", x, x]],
  "op cat": [(a, b) => op("cat", a, b), [[x, x], 0]],
  "op permute": [(a, b) => op("permute", a, b), [latents, [0, 2, 3, 1]]],
  configure: [(a) => configure(a), [{ maxQueue: 1024 }]],
  makeGrid: [(a, b) => makeGrid(a, b), [[image], { columns: 1 }]],
  "Image.from": [(a, b) => Image.from(a, b), [new Uint8Array(3), { width: 1, height: 1, channels: 3 }]],
  "Image.toBuffer": [(a, b) => image.toBuffer(a, b), ["png", {}]],
  "Image.save": [(a, b) => image.save(typeof a === "string" ? join(folder, "x.png") : a, b), ["x.png", {}]],
  LDMPipeline: [(a) => new LDMPipeline(a), [{ ...pipe.components }]],
  "LDMPipeline.fromPretrained": [
    (a, b) => LDMPipeline.fromPretrained(a, b),
    [CHECKPOINT, { device: "cpu", dtype: "float32", optimize: true, scalingFactor: 1, variant: undefined }],
  ],
  "LDMPipeline.fromTorchScript": [
    (a) => LDMPipeline.fromTorchScript(a),
    [{ unet: "x", vqDecoder: "x", scheduler: pipe.scheduler, config: { in_channels: 3 }, trusted: true }],
  ],
  "LDMPipeline.to": [(a) => pipe.to(a), [{ dtype: "float32", device: "cpu", optimize: true }]],
  "LDMPipeline.savePretrained": [(a, b) => save(pipe, a, b), ["", { dtype: "float32", maxShardSize: 1e9 }]],
  "LDMPipeline.generate": [
    (a) => pipe.generate(isOptions(a) ? { ...RUN, ...a } : a),
    [{ batchSize: 1, seed: 1, eta: 0, numInferenceSteps: 1, outputType: "image", height: 16, allowNonFinite: true }],
  ],
  "LDMPipeline.generate, others": [
    (a) => pipe.generate(a),
    [{ generator: Generator.fromSeed(1), timesteps: [500, 1], width: 16, signal: undefined, onProgress: () => 0 }],
  ],
  "LDMPipeline.stream": [(a) => pipe.stream(a).next(), [{ ...RUN, previewEvery: 1 }]],
  "UNet2DModel.forward": [(a, b, c) => pipe.unet.forward(a, b, c), [latents, 5, { signal: undefined }]],
  "UNet2DModel.fromConfig": [
    (a, b) => UNet2DModel.fromConfig(small(a, pipe.unet), b),
    [pipe.unet.config, { dtype: "float32" }],
  ],
  "UNet2DModel.fromPretrained": [
    (a, b) => UNet2DModel.fromPretrained(a, b),
    [CHECKPOINT, { subfolder: "unet", variant: undefined, dtype: "float32" }],
  ],
  "VQModel.encode": [(a, b) => pipe.vqvae.encode(a, b), [op("ones", [1, 3, 16, 16]), {}]],
  "VQModel.decode": [(a, b) => pipe.vqvae.decode(a, b), [latents, { forceNotQuantize: false }]],
  "VQModel.fromConfig": [(a, b) => VQModel.fromConfig(small(a, pipe.vqvae), b), [pipe.vqvae.config, {}]],
  "ScriptModule.load": [(a, b) => ScriptModule.load(a, b), ["/nowhere", { trusted: true, dtype: "float32" }]],
  "ScriptModule.call": [(a, b, c) => pipe.unet.module.call(a, b, c), ["forward", [latents, x], {}]],
  "ScriptModule.save": [
    (a, b) => pipe.unet.module.save(typeof a === "string" ? join(folder, "x.pt") : a, b),
    ["x", { dtype: "float32" }],
  ],
  ...Object.fromEntries(
    schedulers.flatMap(([name, Scheduler]) => {
      const fresh = () => {
        const scheduler = new Scheduler({});
        scheduler.setTimesteps(5);
        return scheduler;
      };
      return [
        [name, [(a) => new Scheduler(a), [{ num_train_timesteps: 1000, beta_start: 0.001, beta_schedule: "linear" }]]],
        [`${name}.fromConfig`, [(a) => Scheduler.fromConfig(a), [{ ...fresh().config }]]],
        [`${name}.setTimesteps`, [(a, b) => new Scheduler({}).setTimesteps(a, b), [5, {}]]],
        [`${name}.step`, [(...args) => fresh().step(...args), [latents, fresh().timesteps[0], latents, { eta: 0 }]]],
        [`${name}.scaleModelInput`, [(a, b) => fresh().scaleModelInput(a, b), [latents, fresh().timesteps[0]]]],
        [`${name}.addNoise`, [(a, b, c) => fresh().addNoise(a, b, c), [latents, latents, [fresh().timesteps[0]]]]],
      ];
    }),
  ),
};

/** No keys at all would be diffusers' own network, of 274 million parameters. */
function small(config, { config: own }) {
  return isOptions(config) ? { ...own, ...config } : config;
}

function save(pipeline, path, options) {
  return pipeline.savePretrained(typeof path === "string" ? join(folder, "model") : path, options);
}

let calls = 0;
let refused = 0;
let slowest = 0;

async function attempt(name, call, args, where) {
  calls++;
  const began = performance.now();
  const timer = setTimeout(() => fail(`${name}, ${where}: does not settle`), 30_000);
  try {
    const result = await call(...args);
    result?.dispose?.();
  } catch (error) {
    refused++;
    const fault = error?.message === "a trap" ? undefined : faultOf(error);
    if (fault) fail(`${name}, ${where}: ${fault}`);
  }
  clearTimeout(timer);
  const took = performance.now() - began;
  if (took > slowest) slowest = took;
  if (took > 5000) console.log(`${name}, ${where}: took ${(took / 1000).toFixed(1)} s`);
}

/** Plain objects, of any realm; undefined is an empty one. */
function isOptions(value) {
  try {
    return (
      value === undefined ||
      (Object.prototype.toString.call(value) === "[object Object]" &&
        !value[Symbol.iterator] &&
        value !== throwing &&
        value.self === undefined)
    );
  } catch {
    return false;
  }
}

for (const [name, [call, good]] of Object.entries(CALLS)) {
  for (const [i, usual] of good.entries()) {
    // The cut takes one value of seven, other ones for each argument.
    for (const [j, odd] of ODD.entries()) {
      if (quick && (calls + j + i) % 7 !== 0) continue;
      await attempt(name, call, replaced(good, i, odd), `argument ${i}, value ${j}`);
    }
    if (usual === null || typeof usual !== "object" || Object.getPrototypeOf(usual) !== Object.prototype) continue;
    for (const key of Object.keys(usual)) {
      for (const [j, odd] of ODD.entries()) {
        if (quick && (calls + j) % 7 !== 0) continue;
        await attempt(name, call, replaced(good, i, { ...usual, [key]: odd }), `option ${key}, value ${j}`);
      }
    }
  }
}

function replaced(list, index, value) {
  return list.map((one, i) => (i === index ? value : one));
}

figure("functions", Object.keys(CALLS).length);
figure("odd values", ODD.length);
figure("calls", calls);
figure("refused, with a typed error", refused);
figure("slowest call", slowest, { unit: "ms" });
pipe.dispose();
rmSync(folder, { recursive: true });
// Promises that never settle were among the values; nothing else may keep the process alive.
finish();
