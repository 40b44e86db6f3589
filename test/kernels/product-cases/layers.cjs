// Layers by themselves: shapes, layouts, and how the work is cut into blocks.
const { random, parametersOf, conv, STOCK, layer, PICTURES, CHANNELS, layers } = require("./builders.cjs");

function linear(inner, outer, shapes, bias = "b") {
  return {
    parameters: parametersOf(inner, outer, 0),
    depth: inner,
    runs: shapes.map((shape) => [random([...shape, inner])]),
    lines: (a) => [`return torch.linear(${a("x")}, ${a("self.w")}, ${bias === null ? "None" : a(`self.${bias}`)})`],
    operators: ["amx_linear"],
    otherwise: STOCK,
  };
}

const LAYERS = {
  ...layers("3 x 3", {}),
  ...layers("3 x 3, stride 2", { stride: 2 }, [...PICTURES, [1, 8, 6], [3, 2, 2], [1, 5, 40]]),
  ...layers("1 x 1", { kernel: 1 }),
  ...Object.fromEntries(
    CHANNELS.map(([inner, outer]) => [
      `linear, ${inner} to ${outer}`,
      () => linear(inner, outer, [[], [1], [70], [3, 9], [2, 3, 5]]),
    ]),
  ),
  "3 x 3, no bias": () => layer(40, 50, PICTURES, { bias: null }),
  "1 x 1, no bias": () => layer(40, 50, PICTURES, { kernel: 1, bias: null }),
  "linear, no bias": () => linear(40, 50, [[], [33]], null),
  "3 x 3, as traced": () => ({
    ...layer(40, 50, PICTURES),
    otherwise: STOCK,
    lines: (a) => [
      `return torch._convolution(${a("x")}, ${a("self.w")}, ${a("self.b")}, [2, 2], [1, 1], [1, 1], False, [0, 0], 1, False, False, True, True)`,
    ],
  }),
  "no batch": () => ({ ...layer(40, 50, []), runs: [[random([40, 7, 9])], [random([40, 1, 1])]] }),
  "no batch, 1 x 1": () => ({ ...layer(40, 50, [], { kernel: 1 }), runs: [[random([40, 7, 9])]] }),
  "an empty batch": () => layer(40, 50, [[0, 7, 9]]),
  "linear, no rows": () => linear(40, 50, [[0], [3, 0]]),
  "channels innermost": () => ({
    ...layer(40, 50, []),
    runs: [[random([3, 7, 9, 40])]],
    lines: (a) => [`return ${conv(a, a("x.permute(0, 3, 1, 2)"))}`],
  }),
  "a part of a picture": () => ({
    ...layer(40, 50, []),
    runs: [[random([3, 50, 14, 20])]],
    lines: (a) => [`return ${conv(a, a("x[:, 5:45, ::2, 3:]"))}`],
  }),
  "linear of a transposed input": () => ({
    ...linear(40, 50, []),
    runs: [[random([2, 40, 33])]],
    lines: (a) => [`return torch.linear(${a("x.transpose(1, 2)")}, ${a("self.w")}, ${a("self.b")})`],
  }),
  // What one product may replace some day.
  "three linear layers of one input": () => ({
    parameters: { w: [40, 40], b: [40], w1: [40, 40], b1: [40], w2: [24, 40] },
    depth: 40,
    runs: [[random([2, 33, 40])]],
    lines: (a) => [
      `q = torch.linear(${a("x")}, ${a("self.w")}, ${a("self.b")})`,
      `k = torch.linear(${a("x")}, ${a("self.w1")}, ${a("self.b1")})`,
      `v = torch.linear(${a("x")}, ${a("self.w2")}, None)`,
      "return torch.cat([q, k, v], -1)",
    ],
    operators: ["amx_linear"],
    otherwise: STOCK,
  }),

  // Blocks of rows for each thread: more than a megabyte of pixels; three blocks and more, and pictures that end within one.
  bands: () =>
    layer(40, 50, [
      [1, 190, 65],
      [3, 61, 66],
    ]),
  "bands, stride 2": () => layer(40, 33, [[3, 91, 65]], { stride: 2 }),
  "bands, 1 x 1": () => layer(40, 33, [[3, 81, 65]], { kernel: 1 }),
  "bands, linear": () => linear(40, 33, [[3, 5001]]),
  "bands of few long rows": () => layer(3, 5, [[1, 5, 5000]]),
  // More than 512 KB of weights for one panel; in bfloat16 half as large.
  "blocks of weights": () =>
    layer(480, 33, [
      [1, 4, 5],
      [2, 3, 3],
    ]),
  "blocks of weights, bfloat16": () => layer(930, 33, [[1, 4, 5]]),
  "blocks of weights and bands": () => layer(930, 33, [[1, 24, 25]]),
  "many panels": () =>
    layer(40, 300, [
      [1, 3, 3],
      [2, 7, 9],
    ]),
};

module.exports = { LAYERS, linear };
