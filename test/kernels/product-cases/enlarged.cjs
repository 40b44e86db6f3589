// A picture that is enlarged to twice its sides and then convolved.
const { random, conv, STOCK, layer, PICTURES } = require("./builders.cjs");

const upsample = (x) => `torch.upsample_nearest2d(${x}, None, [2.0, 2.0])`;

/** A picture enlarged to twice its sides, and convolved. The taps' sums are rounded to the dtype once more. */
function enlarged(inner, outer, shapes, rest = {}) {
  return {
    ...layer(inner, outer, shapes),
    lines: (a) => [`return ${conv(a, upsample(a("x")))}`],
    operators: ["amx_conv2d", "!upsample_nearest2d"],
    roundings: 1,
    ...rest,
  };
}

/** An enlarged picture that must be written. */
function notFused(call, rest) {
  const operators = ["amx_conv2d", "upsample_nearest2d"];
  return { ...enlarged(40, 50, [[3, 7, 9]]), ...rest, roundings: 1, lines: (a) => [`return ${call(a)}`], operators };
}

const ENLARGED = {
  enlarged: () => enlarged(40, 50, PICTURES),
  "enlarged, few channels": () => enlarged(3, 5, PICTURES),
  "enlarged in bands": () =>
    enlarged(40, 33, [
      [1, 190, 65],
      [3, 61, 66],
    ]),
  "enlarged, blocks of weights": () => enlarged(1090, 33, [[1, 3, 3]]),
  "enlarged, added to": () =>
    enlarged(40, 50, [], {
      runs: [
        [3, 50, 8, 10],
        [3, 50, 1, 1],
      ].map((shape) => [random([3, 40, 4, 5]), random(shape)]),
      lines: (a) => [`return ${conv(a, upsample(a("x")))} + ${a("r")}`],
      operators: ["amx_conv2d", "!upsample_nearest2d", "!add"],
    }),
  "enlarged, no batch": () =>
    enlarged(40, 50, [], {
      runs: [[random([40, 7, 9])]],
      lines: (a) => [`return ${conv(a, `${upsample(a("x.unsqueeze(0)"))}.squeeze(0)`)}`],
      operators: ["amx_conv2d"],
    }),
  "enlarged, stride 2": () => notFused((a) => conv(a, upsample(a("x")), { stride: 2 }), { otherwise: STOCK }),
  "enlarged, 1 x 1": () =>
    notFused((a) => conv(a, upsample(a("x")), { padding: 0 }), { ...layer(40, 50, [[3, 7, 9]], { kernel: 1 }) }),
  "enlarged by 3": () => notFused((a) => conv(a, `torch.upsample_nearest2d(${a("x")}, None, [3.0, 3.0])`)),
  "enlarged, used twice": () =>
    notFused((a) => `${conv(a, a(upsample("x")))} * 2 + ${a(upsample("x"))}`, { ...layer(40, 40, [[3, 7, 9]]) }),
  "enlarged, its input changed before it is read": () =>
    enlarged(40, 50, [[3, 7, 9]], {
      lines: (a) => [
        "x = x * 1",
        `u = ${upsample("x")}`,
        "x.mul_(3)",
        `return ${conv(a, a("u"))} + torch.mean(${a("x")})`,
      ],
      operators: ["amx_conv2d", "upsample_nearest2d"],
    }),
  "a weight of which one use is enlarged": () =>
    notFused((a) => `${conv(a, upsample(a("x")))}[:, :, :7, :9] + ${conv(a, a("x"))}`, { depth: 2 * 40 * 9 }),
};

module.exports = { ENLARGED };
