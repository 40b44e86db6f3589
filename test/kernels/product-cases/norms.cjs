// A group norm, with SiLU or without, that a convolution reads.
const { random, parametersOf, conv } = require("./builders.cjs");

/**
 * A group norm of 8 groups, then `lines`. A float32 norm computes factor * x + summand, whose error is a few units of 2^-24 of
 * the greatest |factor * x| + |summand|, and its moments are sums of 64 in float32: together less than 8 * 2^-24 * spread. A
 * convolution's own bound is 6 * sqrt(256) * 2^-24 at least, so spread / 12 more for each value holds the norm's error too.
 */
function norm(
  lines,
  {
    inner = 40,
    outer = 50,
    shapes = [
      [1, 1, 2],
      [3, 7, 9],
      [2, 20, 20],
    ],
    mean = 0,
    silu = true,
    ...rest
  } = {},
) {
  const spread = 3 * (4 + Math.abs(mean));
  const normal = "torch.group_norm(x, 8, self.g, self.s, 1e-6, True)";
  return {
    parameters: { ...parametersOf(inner, outer), g: [inner], s: [inner] },
    depth: inner * 9,
    runs: shapes.map(([batch, ...size]) => [random([batch, inner, ...size], { mean })]),
    lines: (a) => [`h = ${silu ? `torch.silu(${normal})` : normal}`, ...lines(a, (h) => a(h, spread / 12))],
    operators: ["amx_conv2d", "!group_norm", "!silu"],
    otherwise: ["group_norm"],
    // In bfloat16 the normalised values are rounded for the product.
    roundings: 1,
    ...rest,
  };
}

const readByConv = (options) => (a, h) => [`return ${conv(a, h("h"), options)}`];

const NORMS = {
  norm: () => norm(readByConv(), { silu: false }),
  "norm, SiLU": () => norm(readByConv()),
  "norm, SiLU, stride 2": () => norm(readByConv({ stride: 2 })),
  "norm, 1 x 1": () =>
    norm(readByConv({ padding: 0 }), { parameters: { ...parametersOf(40, 50, 1), g: [40], s: [40] }, silu: false }),
  "norm, channels that fill no block": () => norm(readByConv(), { inner: 48, outer: 3 }),
  "norm in bands": () => norm(readByConv(), { shapes: [[3, 61, 66]] }),
  "norm far from 0": () => norm(readByConv(), { mean: 100, silu: false }),
  "norm, add its own input": () =>
    norm((a, h) => [`return ${conv(a, h("h"))} + ${a("x")}`], {
      outer: 40,
      operators: ["amx_conv2d", "!group_norm", "!add"],
    }),
  "norm, used twice": () =>
    norm((a, h) => [`return ${conv(a, h("h"))} + torch.mean(${h("h")})`], {
      operators: ["group_norm", "amx_conv2d"],
      roundings: 3,
    }),
  "norm, read by two layers": () =>
    norm((a, h) => [`return ${conv(a, h("h"))} + ${conv(a, h("h"), { w: "w1", bias: null, padding: 0 })}`], {
      parameters: { ...parametersOf(40, 50), w1: [50, 40, 1, 1], g: [40], s: [40] },
      depth: 40 * 10,
      roundings: 2,
      operators: ["group_norm", "amx_conv2d"],
    }),
  "norm, its input changed before it is read": () =>
    norm((a, h) => ["x.mul_(3)", `return ${conv(a, h("h"))} + ${a("x")}`], {
      prelude: ["x = x * 1"],
      outer: 40,
      operators: ["group_norm", "amx_conv2d"],
    }),
  "norm, no batch after it": () =>
    norm(readByConv(), {
      operators: ["amx_conv2d"],
      runs: [[random([40, 16, 9])]],
      silu: false,
      parameters: { ...parametersOf(40, 50), g: [16], s: [16] },
    }),
};

module.exports = { NORMS };
