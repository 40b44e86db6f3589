// Convolutions that AMX has no kernel for.
const { random, conv, STOCK } = require("./builders.cjs");

/** What AMX has no kernel for. */
function kept(call, inner = 40, weight = [50, inner, 3, 3]) {
  return {
    parameters: { w: weight, b: [50] },
    depth: inner * weight[2] * weight[3],
    runs: [[random([1, inner, 9, 11])]],
    lines: (a) => [`return ${call(a)}`],
    operators: ["!amx_conv2d"],
    otherwise: STOCK,
  };
}

const LEFT_ALONE = {
  "another padding": () => kept((a) => conv(a, a("x"), { padding: 0 })),
  "stride 3": () => kept((a) => conv(a, a("x"), { stride: 3 })),
  dilated: () => kept((a) => `torch.conv2d(${a("x")}, ${a("self.w")}, ${a("self.b")}, [1, 1], [1, 1], [2, 2], 1)`),
  "in groups": () =>
    kept(
      (a) => `torch.conv2d(${a("x")}, ${a("self.w")}, ${a("self.b")}, [1, 1], [1, 1], [1, 1], 2)`,
      40,
      [50, 20, 3, 3],
    ),
  "5 x 5": () => kept((a) => conv(a, a("x"), { padding: 2 }), 40, [50, 40, 5, 5]),
  "1 x 1, stride 2": () => kept((a) => conv(a, a("x"), { stride: 2, padding: 0 }), 40, [50, 40, 1, 1]),
};

module.exports = { LEFT_ALONE };
