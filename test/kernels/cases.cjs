// Small networks that the graph passes rewrite; run by test/kernels/kernels.test.ts in processes of their own, since LibTorch
// reads ATEN_CPU_CAPABILITY once. Prints one line of JSON for each case: errors relative to the largest magnitude.
const { createHash } = require("node:crypto");
const { join } = require("node:path");

const dist = join(__dirname, "..", "..", "dist");
const { Generator, op, runtimeInfo } = require(join(dist, "index.js"));
const { native } = require(join(dist, "native", "open.js"));
const { ScriptModule } = require(join(dist, "torch", "script-module.js"));

const generator = Generator.fromSeed(0);

function network(source, parameters) {
  const weights = new Map(
    parameters.map(([name, shape]) => {
      const fanIn = shape.slice(1).reduce((product, size) => product * size, 1);
      return [name, op("div.Scalar", generator.randn(shape), Math.sqrt(fanIn))];
    }),
  );
  return { spec: { name: "Net", source: source.join("\n"), parameters, children: [] }, weights };
}

/** `before` shrinks the picture from the 64 x 64 that the passes expect, and so chooses the tile. */
function convolutions(inner, outer, before, traced = false) {
  const call = (x, i) =>
    traced
      ? `torch._convolution(${x}, self.w${i}, self.b${i}, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, False, False, True, True)`
      : `torch.conv2d(${x}, self.w${i}, self.b${i}, [1, 1], [1, 1], [1, 1], 1)`;
  const source = [
    "def forward(self, x):",
    ...before,
    `    x = torch.silu(${call("x", 0)})`,
    `    return ${call("x", 1)}`,
    "def again(self, x):",
    ...before,
    `    return ${call("x", 0)} + 1`,
  ];
  return network(source, [
    ["w0", [outer, inner, 3, 3]],
    ["b0", [outer]],
    ["w1", [inner, outer, 3, 3]],
    ["b1", [inner]],
  ]);
}

const pool = (size) => [`    x = torch.avg_pool2d(x, [${size}, ${size}], [${size}, ${size}])`];
const sizes = (channels, scale = 1) =>
  [
    [1, channels, 1, 1],
    [2, channels, 5, 7],
    [1, channels, 32, 32],
    [3, channels, 9, 13],
    [1, channels, 4, 70],
  ].map(([batch, c, height, width]) => [batch, c, height * scale, width * scale]);

/** A convolution of too few channels for Winograd makes the channels innermost, then `lines`. */
function norms(lines, channels) {
  return network(
    [
      "def forward(self, x):",
      "    x = torch.conv2d(x, self.w, None, [1, 1], [1, 1], [1, 1], 1)",
      ...lines.map((line) => `    ${line}`),
    ],
    [
      ["w", [channels, 3, 3, 3]],
      ["weight", [channels]],
      ["bias", [channels]],
    ],
  );
}

/** Queries, keys and values as networks make them: heads side by side in each pixel of `x` [batch, pixels, 3 * heads * size]. */
function attention(heads, size, options = "None, 0.0, False", shorter = "") {
  const part = (i, pixels = ":") =>
    `x[:, ${pixels}, ${i * heads * size}:${(i + 1) * heads * size}].view(x.shape[0], -1, ${heads}, ${size}).transpose(1, 2)`;
  return network(
    [
      "def forward(self, x):",
      `    q = ${part(0)}`,
      `    k = ${part(1, `${shorter}:`)}`,
      `    v = ${part(2, `${shorter}:`)}`,
      `    x = torch.scaled_dot_product_attention(q, k, v, ${options})`,
      `    return x.transpose(1, 2).reshape(x.shape[0], -1, ${heads * size})`,
    ],
    [],
  );
}

const pixels = (heads, size, counts) => counts.map((count, i) => [1 + (i % 2), count, 3 * heads * size]);

const CASES = {
  "4 x 4 tiles": () => [convolutions(16, 33, []), sizes(16)],
  "4 x 4 tiles, many channels": () => [convolutions(80, 96, []), sizes(80)],
  "4 x 4 tiles, odd channels": () => [convolutions(17, 70, []), sizes(17)],
  "4 x 4 tiles, as traced": () => [convolutions(24, 16, [], true), sizes(24)],
  "2 x 2 tiles": () => [convolutions(40, 33, pool(4)), sizes(40, 4)],
  "few pixels": () => [convolutions(40, 33, pool(8)), sizes(40, 8)],
  "few pixels, as traced": () => [convolutions(33, 40, pool(8), true), sizes(33, 8)],
  "two methods with the same weights": () => [convolutions(16, 32, []), sizes(16), "again"],
  "too small to gain": () => [convolutions(16, 16, pool(8)), sizes(16, 8)],
  "too few channels": () => [convolutions(3, 32, []), sizes(3)],
  "group norm": () => [norms(["return torch.group_norm(x, 5, self.weight, self.bias, 1e-5, True)"], 40), sizes(3)],
  "group norm, SiLU": () => [
    norms(["return torch.silu(torch.group_norm(x, 4, self.weight, self.bias, 1e-6, True)) * 2"], 68),
    sizes(3),
  ],
  "group norm, used twice": () => [
    norms(["x = torch.group_norm(x, 4, None, None, 1e-6, True)", "return x + torch.silu(x)"], 32),
    sizes(3),
  ],
  // A mean far from 0 must not drown the variance.
  "group norm, far from 0": () => [
    norms(["return torch.group_norm(x + 100, 4, None, None, 1e-6, True)"], 32),
    [
      [1, 3, 32, 32],
      [2, 3, 40, 23],
    ],
  ],
  "no batch": () => [convolutions(16, 32, []), [[16, 9, 11]]],
  "weights of another dtype": () => [
    network(
      [
        "def forward(self, x):",
        "    return torch.conv2d(x.to(7), self.w.to(7), None, [1, 1], [1, 1], [1, 1], 1).to(6)",
      ],
      [["w", [16, 16, 3, 3]]],
    ),
    sizes(16),
  ],
  "group norm, three dimensions": () => [
    norms(
      [
        "x = x.view(x.shape[0], 32, -1)",
        "return torch.group_norm(x, 8, self.weight, self.bias, 1e-6, True).transpose(1, 2) + 1",
      ],
      32,
    ),
    sizes(3),
  ],
  attention: () => [attention(3, 32), pixels(3, 32, [64, 256, 1, 33, 300])],
  "attention, one long head": () => [attention(1, 200), pixels(1, 200, [150, 700])],
  "attention, short vectors": () => [attention(4, 7), pixels(4, 7, [40, 5, 130])],
  "attention, a given scale": () => [attention(2, 48, "None, 0.0, False, scale=0.3"), pixels(2, 48, [70])],
  "attention, fewer keys than queries": () => [attention(2, 32, "None, 0.0, False", "40"), pixels(2, 32, [41, 90])],
  "attention, causal": () => [attention(2, 32, "None, 0.0, True"), pixels(2, 32, [64])],
};

async function valuesOf({ spec, weights }, x, options, method) {
  const module = await ScriptModule.define(spec, weights, options);
  const input = options.dtype === "bfloat16" ? await x.to("bfloat16") : x;
  const values = Array.from(await (await module.call(method, [input])).data(), Number);
  module.dispose();
  return values;
}

/** What `work` returns, and which of our own operators ran meanwhile. */
async function profiled(work) {
  native().profileOperators(true);
  const result = await work();
  const names = native()
    .profileOperators(false)
    .map(({ name }) => /^latent_diffusion::(\w+)/.exec(name)?.[1])
    .filter((name) => name !== undefined);
  return [result, names];
}

function relativeError(actual, expected) {
  if (actual.length !== expected.length) return NaN;
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-30);
  return actual.reduce((worst, value, i) => Math.max(worst, Math.abs(value - expected[i])), 0) / largest;
}

async function run() {
  for (const [name, make] of Object.entries(CASES)) {
    const [net, shapes, method = "forward"] = make();
    const result = { name, capability: runtimeInfo().cpuCapability, error: 0, bfloat16: 0, stockBFloat16: 0 };
    const bits = createHash("sha256");
    const ran = { float32: new Set(), bfloat16: new Set() };
    for (const shape of shapes) {
      const x = generator.randn(shape);
      const exact = await valuesOf(net, x, { optimize: false }, method);
      const [optimized, operators] = await profiled(() => valuesOf(net, x, {}, method));
      operators.forEach((name) => ran.float32.add(name));
      bits.update(Float64Array.from(optimized));
      result.error = Math.max(result.error, relativeError(optimized, exact));
      const [narrow, narrowOperators] = await profiled(() => valuesOf(net, x, { dtype: "bfloat16" }, method));
      narrowOperators.forEach((name) => ran.bfloat16.add(name));
      result.bfloat16 = Math.max(result.bfloat16, relativeError(narrow, exact));
      result.stockBFloat16 = Math.max(
        result.stockBFloat16,
        relativeError(await valuesOf(net, x, { dtype: "bfloat16", optimize: false }, method), exact),
      );
    }
    const operators = { float32: [...ran.float32].sort(), bfloat16: [...ran.bfloat16].sort() };
    console.log(JSON.stringify({ ...result, operators, bits: bits.digest("hex") }));
  }
}

run();
