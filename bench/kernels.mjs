// Compare each kernel of native/kernels with LibTorch's at the full-size model's shapes: node bench/kernels.mjs [dtype] [rounds]
// The two take turns, so that whatever else the machine does meets both; medians. A convolution's products are counted as
// direct convolution has them, so that Winograd's rate may pass what the CPU could do directly.
import { createRequire } from "node:module";
import { median } from "./statistics.mjs";

const require = createRequire(import.meta.url);
const { configure, Generator, op, runtimeInfo } = require("../dist/index.js");
const { ScriptModule } = require("../dist/torch/script-module.js");
const [dtype = "float32", rounds = "15"] = process.argv.slice(2);
/** All kernels' passes: without them a graph is LibTorch's operators alone, with weights as channels_last, where it is at its best. */
const PASSES = "amx,winograd,direct,group-norm,norms,addends,nearest-codes,attention";
/** Calls of each before the measured ones. */
const WARM = 2;
/** Side of the picture, channels in, channels out; which kernel serves a convolution is the passes' choice, by CPU and dtype. */
const SHAPES = {
  convolution: [
    [64, 224, 224],
    [64, 448, 224],
    [32, 448, 448],
    [32, 896, 448],
    [16, 672, 672],
    [16, 1344, 672],
    [8, 896, 896],
    [8, 1792, 896],
    [64, 512, 512],
    [128, 256, 256],
    [256, 128, 128],
  ],
  "group-norm": [
    [64, 224],
    [32, 448],
    [16, 672],
    [64, 512],
    [128, 256],
    [256, 128],
  ],
};
const generator = Generator.fromSeed(0);

function randomWeights(parameters) {
  return new Map(
    parameters.map(([name, shape]) => [
      name,
      op("div.Scalar", generator.randn(shape), Math.sqrt(shape.slice(1).reduce((a, b) => a * b, 1))),
    ]),
  );
}

/** The passes choose by the size that they expect, 64 x 64 at the input; a branch never taken makes it the layer's. */
function convolution(size, inner, outer) {
  const shrink = Math.max(1, 64 / size);
  return {
    parameters: [
      ["weight", [outer, inner, 3, 3]],
      ["bias", [outer]],
    ],
    source: [
      "def forward(self, x, scale: float = 1.0):",
      "    if scale > 0.0:",
      "        x = x",
      "    else:",
      `        x = torch.avg_pool2d(x, [${shrink}, ${shrink}], [${shrink}, ${shrink}])`,
      "    return torch.conv2d(x, self.weight, self.bias, [1, 1], [1, 1], [1, 1], 1)",
    ],
  };
}

function norm(size, channels) {
  return {
    parameters: [
      ["weight", [channels]],
      ["bias", [channels]],
    ],
    source: [
      "def forward(self, x):",
      "    return torch.silu(torch.group_norm(x, 32, self.weight, self.bias, 1e-5, True))",
    ],
  };
}

async function define({ parameters, source }, without) {
  process.env.LATENT_DIFFUSION_WITHOUT_PASSES = without;
  const spec = { name: "Layer", source: source.join("\n"), parameters, children: [] };
  return ScriptModule.define(spec, randomWeights(parameters), { dtype });
}

/** What a convolution returns: channels innermost, as everywhere in an optimised network. */
async function channelsLast(size, channels) {
  const source = ["def forward(self, x):", "    return torch.conv2d(x, self.weight, None, [1, 1], [1, 1], [1, 1], 1)"];
  const module = await define({ parameters: [["weight", [channels, 3, 3, 3]]], source }, PASSES);
  const x = await module.forward(await generator.randn([1, 3, size, size]).to(dtype));
  module.dispose();
  return x;
}

async function time(module, x) {
  const start = performance.now();
  (await module.forward(x)).dispose();
  return performance.now() - start;
}

/** @returns {Promise<{ own: number, stock: number }>} medians in milliseconds */
async function compare(layer, x) {
  const modules = { own: await define(layer, ""), stock: await define(layer, PASSES) };
  const times = { own: [], stock: [] };
  for (let round = -WARM; round < Number(rounds); round++) {
    for (const [name, module] of Object.entries(modules)) {
      const taken = await time(module, x);
      if (round >= 0) times[name].push(taken);
    }
  }
  for (const module of Object.values(modules)) module.dispose();
  return { own: median(times.own), stock: median(times.stock) };
}

/** Billions of operations a second for convolutions; of bytes, each read and written once, for what only passes over the picture. */
function rate([size, inner, outer], milliseconds) {
  const bytes = dtype === "float32" ? 4 : 2;
  const [work, unit] =
    outer === undefined ? [2 * size ** 2 * inner * bytes, "GB/s"] : [2 * size ** 2 * inner * outer * 9, "GFLOP/s"];
  return `${(work / milliseconds / 1e6).toFixed(0).padStart(5)} ${unit}`;
}

configure({ threads: 2 });
console.log(
  `${dtype}, LibTorch ${runtimeInfo().libtorch.version} (${runtimeInfo().cpuCapability}), ${runtimeInfo().threads} threads`,
);
for (const [kind, shapes] of Object.entries(SHAPES)) {
  for (const shape of shapes) {
    const [size, inner, outer] = shape;
    const x = await channelsLast(size, inner);
    const { own, stock } = await compare(outer === undefined ? norm(size, inner) : convolution(size, inner, outer), x);
    const name = `${kind} ${size}x${size} ${inner}${outer === undefined ? "" : ` to ${outer}`}`;
    const cells = [own, stock].map((taken) => `${taken.toFixed(2).padStart(7)} ms ${rate(shape, taken)}`);
    console.log(`${(stock / own).toFixed(2).padStart(5)}x  ${name.padEnd(28)} ${cells[0]}   LibTorch ${cells[1]}`);
    x.dispose();
  }
}
