// Compare each kernel of native/kernels with LibTorch's at the full-size model's shapes: node bench/kernels.mjs [rounds]
// The two take turns, so that whatever else the machine does meets both; medians in milliseconds.
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const { Generator, op, runtimeInfo } = require("../dist/index.js");
const { ScriptModule } = require("../dist/script-module.js");
const ROUNDS = Number(process.argv[2] ?? 15);
const SHAPES = {
  winograd: [
    [64, 224, 224], [64, 448, 224], [32, 448, 448], [32, 896, 448], [16, 672, 672], [16, 1344, 672], [64, 512, 512], [128, 256, 256], [256, 128, 128],
  ],
  "group-norm": [[64, 224], [32, 448], [16, 672], [64, 512], [128, 256], [256, 128]],
};
const generator = Generator.fromSeed(0);

function randomWeights(parameters) {
  return new Map(parameters.map(([name, shape]) => [name, op("div.Scalar", generator.randn(shape), Math.sqrt(shape.slice(1).reduce((a, b) => a * b, 1)))]));
}

/** The passes choose by the size that they expect, 64 x 64 at the input; a branch never taken makes it the layer's. */
function convolution(size, inner, outer) {
  const shrink = Math.max(1, 64 / size);
  return {
    parameters: [["weight", [outer, inner, 3, 3]], ["bias", [outer]]],
    source: [
      "def forward(self, x, scale: float = 1.0):",
      "    if scale > 0.0:", "        x = x",
      "    else:", `        x = torch.avg_pool2d(x, [${shrink}, ${shrink}], [${shrink}, ${shrink}])`,
      "    return torch.conv2d(x, self.weight, self.bias, [1, 1], [1, 1], [1, 1], 1)",
    ],
  };
}

function norm(size, channels) {
  return {
    parameters: [["weight", [channels]], ["bias", [channels]]],
    source: ["def forward(self, x):", "    return torch.silu(torch.group_norm(x, 32, self.weight, self.bias, 1e-5, True))"],
  };
}

async function define({ parameters, source }, without) {
  process.env.LATENT_DIFFUSION_WITHOUT_PASSES = without;
  return ScriptModule.define({ name: "Layer", source: source.join("\n"), parameters, children: [] }, randomWeights(parameters));
}

/** What a convolution returns: channels innermost, as everywhere in an optimised network. */
async function channelsLast(shape) {
  const [, channels] = shape;
  const source = ["def forward(self, x):", "    return torch.conv2d(x, self.weight, None, [1, 1], [1, 1], [1, 1], 1)"];
  const module = await define({ parameters: [["weight", [channels, 3, 3, 3]]], source }, "winograd,group-norm");
  const x = await module.forward(generator.randn([shape[0], 3, shape[2], shape[3]]));
  module.dispose();
  return x;
}

async function time(module, x) {
  const start = performance.now();
  (await module.forward(x)).dispose();
  return performance.now() - start;
}

function median(values) {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

console.log(runtimeInfo());
for (const [pass, shapes] of Object.entries(SHAPES)) {
  for (const [size, inner, outer] of shapes) {
    const layer = outer === undefined ? norm(size, inner) : convolution(size, inner, outer);
    const x = await channelsLast([1, inner, size, size]);
    const [own, stock] = [await define(layer, ""), await define(layer, pass)];
    const times = { own: [], stock: [] };
    for (let round = 0; round < ROUNDS + 2; round++) {
      const [a, b] = [await time(own, x), await time(stock, x)];
      if (round < 2) continue;
      times.own.push(a);
      times.stock.push(b);
    }
    const [mine, theirs] = [median(times.own), median(times.stock)];
    console.log(`${pass} ${size}x${size} ${inner}${outer === undefined ? "" : ` to ${outer}`}: ${mine.toFixed(2)} ms, LibTorch ${theirs.toFixed(2)} ms, ${(theirs / mine).toFixed(2)}x`);
    own.dispose();
    stock.dispose();
    x.dispose();
  }
}
