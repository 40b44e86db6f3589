// Layers that are expected to see few pixels.
const { random, spoilt, conv, layer, PICTURES, layersOf } = require("./builders.cjs");
const { addend, SAME, sum } = require("./addends.cjs");

/** The passes expect 64 x 64 at the input; a branch that is never taken makes it 8 x 8. */
const FEW = ["if x.dim() < 9:", "    x = x", "else:", "    x = torch.avg_pool2d(x, [8, 8], [8, 8])"];

/** A layer that is expected to meet few pixels, which AMX does not ask about. */
function few(
  inner,
  outer,
  shapes,
  { operators = ["amx_conv2d"], otherwise = ["direct_conv2d", "!mkldnn_convolution"], ...options } = {},
) {
  return { ...layer(inner, outer, shapes, options), prelude: FEW, operators, otherwise };
}

const FEW_PIXELS = {
  ...layersOf(
    [
      [40, 50],
      [50, 40],
      [32, 64],
      [300, 33],
    ],
    "few pixels",
    (inner, outer) => few(inner, outer, PICTURES),
  ),
  "few pixels, stride 2": () => few(40, 50, [...PICTURES, [1, 8, 6], [3, 2, 2], [1, 5, 40]], { stride: 2 }),
  "few pixels, 1 x 1": () => few(40, 50, PICTURES, { kernel: 1 }),
  "few pixels, no padding": () =>
    few(
      40,
      50,
      [
        [1, 3, 3],
        [3, 7, 9],
      ],
      { padding: 0, operators: ["!amx_conv2d"] },
    ),
  "few pixels, no padding, stride 2": () =>
    few(
      40,
      50,
      [
        [1, 3, 3],
        [3, 8, 9],
        [1, 16, 17],
      ],
      { padding: 0, stride: 2, operators: ["!amx_conv2d"] },
    ),
  "few pixels, 2 x 2": () => few(40, 50, [[2, 7, 9]], { kernel: 2, padding: 1, operators: ["!amx_conv2d"] }),
  "few pixels, 1 x 1, stride 2": () => few(40, 50, [[2, 7, 9]], { kernel: 1, stride: 2, operators: ["!amx_conv2d"] }),
  "few pixels, no bias": () => few(40, 50, PICTURES, { bias: null }),
  "few pixels, many in fact": () =>
    few(140, 50, [
      [1, 33, 47],
      [3, 40, 23],
    ]),
  "few pixels, wide in fact": () =>
    few(40, 33, [
      [1, 1, 300],
      [2, 3, 257],
      [1, 2, 700],
    ]),
  "few pixels, wide in fact, stride 2": () => few(40, 33, [[1, 3, 600]], { stride: 2 }),
  "few pixels, an empty batch": () => few(40, 50, [[0, 7, 9]]),
  "few pixels, no batch": () => ({ ...few(40, 50, []), runs: [[random([40, 7, 9])], [random([40, 1, 1])]] }),
  "few pixels, channels innermost": () => ({
    ...few(40, 50, []),
    runs: [[random([3, 7, 9, 40])]],
    lines: (a) => [`return ${conv(a, a("x.permute(0, 3, 1, 2)"))}`],
  }),
  "few pixels, add": () => addend(sum, SAME, { extra: { prelude: FEW, otherwise: ["direct_conv2d", "!add"] } }),
  "few pixels, add to each image's channels": () =>
    addend(
      sum,
      [
        [
          [3, 40, 7, 9],
          [3, 50, 1, 1],
        ],
      ],
      { extra: { prelude: FEW, otherwise: ["direct_conv2d", "!add"] } },
    ),
  "few pixels, add, broadcast": () =>
    addend(
      sum,
      [
        [
          [3, 40, 7, 9],
          [1, 50, 7, 9],
        ],
        [
          [1, 40, 7, 9],
          [3, 50, 7, 9],
        ],
      ],
      {
        operators: ["amx_conv2d", "add"],
        extra: { prelude: FEW, otherwise: ["direct_conv2d", "add"] },
      },
    ),
  "few pixels, not finite": () => ({
    ...few(40, 50, []),
    runs: [[spoilt([3, 40, 7, 9], [NaN, Infinity, -Infinity])], [random([3, 40, 7, 9])]],
  }),
};

module.exports = { FEW_PIXELS };
