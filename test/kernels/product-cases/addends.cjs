// What is added to the result of a convolution.
const { random, parametersOf, conv, STOCK, layer } = require("./builders.cjs");

/** A convolution of 40 to 50 channels whose result `y` something is added to; `shapes`: of `x` and of `r`. */
function addend(expression, shapes, { operators, ...options } = {}) {
  const fused = operators === undefined;
  return {
    ...layer(40, 50, []),
    runs: shapes.map(([x, r]) => [random(x), random(r, options)]),
    lines: (a) => [`y = ${conv(a, a("x"))}`, `return ${expression(a)}`],
    operators: operators ?? ["amx_conv2d", "!add", "!add_"],
    // Without AMX, minimal filtering takes the layer, which adds in the same way.
    otherwise: fused ? ["winograd_conv2d", "!add", "!add_"] : ["winograd_conv2d"],
    // A sum that LibTorch adds afterwards is rounded once more.
    roundings: fused ? 0 : 1,
    ...options.extra,
  };
}

const SAME = [
  [
    [1, 40, 7, 9],
    [1, 50, 7, 9],
  ],
  [
    [3, 40, 5, 33],
    [3, 50, 5, 33],
  ],
  [
    [1, 40, 1, 1],
    [1, 50, 1, 1],
  ],
];
const sum = (a) => `y + ${a("r")}`;

const ADDENDS = {
  add: () => addend(sum, SAME),
  "add, the other way round": () => addend((a) => `${a("r")} + y`, SAME),
  "add to each image's channels": () =>
    addend(sum, [
      [
        [3, 40, 7, 9],
        [3, 50, 1, 1],
      ],
      [
        [1, 40, 7, 9],
        [1, 50, 1, 1],
      ],
    ]),
  "add to all images' channels": () =>
    addend(sum, [
      [
        [3, 40, 7, 9],
        [1, 50, 1, 1],
      ],
    ]),
  "add to each image's channels, no bias": () =>
    addend(
      sum,
      [
        [
          [3, 40, 7, 9],
          [3, 50, 1, 1],
        ],
      ],
      {
        extra: { lines: (a) => [`return ${conv(a, a("x"), { bias: null })} + ${a("r")}`] },
      },
    ),
  "add in bands": () =>
    addend(sum, [
      [
        [3, 40, 61, 66],
        [3, 50, 61, 66],
      ],
      [
        [3, 40, 61, 66],
        [3, 50, 1, 1],
      ],
    ]),
  "add, other layouts": () =>
    addend(
      (a) => `y + ${a("r.permute(0, 3, 2, 1)")}`,
      [
        [
          [3, 40, 7, 9],
          [3, 9, 7, 50],
        ],
      ],
    ),
  "add, stride 2": () =>
    addend(
      sum,
      [
        [
          [3, 40, 7, 9],
          [3, 50, 4, 5],
        ],
      ],
      {
        extra: { lines: (a) => [`return ${conv(a, a("x"), { stride: 2 })} + ${a("r")}`], otherwise: STOCK },
      },
    ),
  "add, 1 x 1": () =>
    addend(
      sum,
      [
        [
          [3, 40, 7, 9],
          [3, 50, 7, 9],
        ],
        [
          [3, 40, 7, 9],
          [3, 50, 1, 1],
        ],
      ],
      {
        extra: {
          parameters: parametersOf(40, 50, 1),
          depth: 40,
          lines: (a) => [`return ${conv(a, a("x"), { padding: 0 })} + ${a("r")}`],
          otherwise: STOCK,
        },
      },
    ),
  "add the layer's own input": () =>
    addend(sum, [], {
      extra: {
        ...layer(40, 40, [[3, 7, 9]]),
        lines: (a) => [`return ${conv(a, a("x"))} + ${a("x")}`],
        operators: ["amx_conv2d", "!add"],
      },
    }),
  "add twice": () => addend((a) => `y + ${a("r")} + ${a("r")} * 2`, SAME, { operators: ["amx_conv2d", "add"] }),
  "sum of two layers": () => ({
    ...layer(40, 50, [[3, 7, 9]]),
    parameters: { ...parametersOf(40, 50), w1: [50, 40, 3, 3] },
    depth: 2 * 40 * 9,
    roundings: 1,
    lines: (a) => [`return ${conv(a, a("x"))} + ${conv(a, a("x"), { w: "w1", bias: null })}`],
    operators: ["amx_conv2d", "!add"],
    otherwise: ["winograd_conv2d", "!add"],
  }),
  "add a number": () => addend(() => "y + 1", SAME, { operators: ["amx_conv2d", "add"] }),
  "add twice as much": () =>
    addend((a) => `torch.add(y, ${a("r")}, alpha=2)`, SAME, { operators: ["amx_conv2d", "add"] }),
  // These are taken, and left to at::add within.
  "add another dtype": () => addend(sum, SAME, { dtype: "float64", operators: ["amx_conv2d", "add"] }),
  "add bfloat16": () => addend(sum, SAME, { dtype: "bfloat16", operators: ["amx_conv2d"] }),
  "add, enlarging": () =>
    addend(
      sum,
      [
        [
          [1, 40, 7, 9],
          [3, 50, 7, 9],
        ],
        [
          [1, 40, 1, 1],
          [3, 50, 4, 5],
        ],
        [
          [1, 40, 7, 9],
          [3, 50, 1, 1],
        ],
      ],
      {
        operators: ["amx_conv2d", "add"],
      },
    ),
  "add, broadcast": () =>
    addend(
      sum,
      [
        [
          [3, 40, 7, 9],
          [1, 50, 7, 9],
        ],
        [
          [3, 40, 7, 9],
          [3, 1, 7, 9],
        ],
        [
          [3, 40, 7, 9],
          [50, 1, 1],
        ],
        [[3, 40, 7, 9], [9]],
        [[3, 40, 7, 9], []],
        [
          [3, 40, 7, 9],
          [2, 1, 1, 1, 1],
        ],
      ],
      { operators: ["amx_conv2d", "add"] },
    ),
  "add, no batch": () =>
    addend(
      sum,
      [
        [
          [40, 7, 9],
          [50, 7, 9],
        ],
        [
          [40, 7, 9],
          [50, 1, 1],
        ],
        [
          [40, 7, 9],
          [3, 50, 1, 1],
        ],
      ],
      { operators: ["amx_conv2d", "add"] },
    ),
  "add in place": () => addend((a) => `y.add_(${a("r")})`, SAME, { operators: ["amx_conv2d", "add_"] }),
  "add to another's": () => addend((a) => `(${a("r")} * 1).add_(y)`, SAME, { operators: ["amx_conv2d", "add_"] }),
  "add to a result that is used again": () =>
    addend((a) => `torch.cat([y + ${a("r")}, y], 1)`, SAME, { operators: ["amx_conv2d", "add"] }),
  "add what was changed in between": () => ({
    ...layer(40, 40, [[3, 7, 9]]),
    operators: ["amx_conv2d"],
    roundings: 1,
    lines: (a) => ["x = x * 1", `y = ${conv(a, a("x"))}`, "x.add_(1)", `return y + ${a("x")}`],
  }),
  "add in a branch": () =>
    addend(sum, SAME, {
      operators: ["amx_conv2d"],
      extra: { lines: (a) => [`y = ${conv(a, a("x"))}`, "if x.size(0) > 1:", `    y = y + ${a("r")}`, "return y"] },
    }),
};

module.exports = { ADDENDS, SAME, addend, sum };
