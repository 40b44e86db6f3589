// What products.cjs runs: small networks of convolutions and linear layers, and what is fused with them. Each writes its
// forward twice, `a` being the identity, then the absolute value with some room: the second is the sum of magnitudes that
// errors are measured by.
const { Generator, op, Tensor } = require("../../dist/index.js");

const generator = Generator.fromSeed(0);

/** Normal values times `scale` plus `mean`; an input of a `dtype` of its own keeps it. */
function random(shape, { scale = 1, mean = 0, dtype } = {}) {
  const values = op("add.Scalar", op("div.Scalar", generator.randn(shape), 1 / scale), mean);
  return { values, dtype };
}

/** Normal values, of which some are replaced. */
function spoilt(shape, spoils) {
  const values = Float32Array.from(generator.randn(shape).dataSync());
  spoils.forEach((value, i) => {
    values[Math.floor(((i + 0.5) * values.length) / spoils.length)] = value;
  });
  return { values: Tensor.from(values, shape) };
}

const parametersOf = (inner, outer, kernel = 3) =>
  kernel === 0 ? { w: [outer, inner], b: [outer] } : { w: [outer, inner, kernel, kernel], b: [outer] };

/** The call of a convolution, `x` being an expression whose magnitude is known. */
function conv(a, x, { w = "w", bias = "b", stride = 1, padding = 1 } = {}) {
  return `torch.conv2d(${x}, ${a(`self.${w}`)}, ${bias === null ? "None" : a(`self.${bias}`)}, [${stride}, ${stride}], [${padding}, ${padding}], [1, 1], 1)`;
}

/** What no pass for vectors takes: LibTorch's own operators compute it. */
const STOCK = ["!winograd_conv2d", "!direct_conv2d", "!amx_conv2d", "!amx_linear"];

/** Which operator takes a layer of many pixels where there is no AMX: minimal filtering, if it has the channels and the shape for it. */
function withoutAmx(inner, outer, { kernel = 3, stride = 1, padding = (kernel - 1) / 2 }) {
  const fits = kernel === 3 && stride === 1 && padding === 1 && inner >= 16 && outer >= 16;
  return fits ? ["winograd_conv2d", "!amx_conv2d"] : STOCK;
}

/** One layer of `inner` to `outer` channels over pictures of the shapes, the channels left out. */
function layer(inner, outer, shapes, options = {}) {
  const { kernel = 3 } = options;
  return {
    parameters: parametersOf(inner, outer, kernel),
    depth: inner * kernel * kernel,
    runs: shapes.map(([batch, ...size]) => [random([batch, inner, ...size])]),
    lines: (a) => [`return ${conv(a, a("x"), { padding: (kernel - 1) / 2, ...options })}`],
    operators: ["amx_conv2d"],
    otherwise: withoutAmx(inner, outer, options),
  };
}

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

const readByConv = (options) => (a, h) => [`return ${conv(a, h("h"), options)}`];

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

// Of one position, of one tile of 16 rows or two in the last 32, of several blocks of rows.
const PICTURES = [
  [1, 1, 1],
  [1, 1, 50],
  [1, 33, 1],
  [3, 7, 9],
  [2, 16, 16],
];
const CHANNELS = [
  [3, 40],
  [40, 3],
  [50, 40],
  [32, 64],
  [1, 1],
];
const layersOf = (channels, name, make) =>
  Object.fromEntries(
    channels.map(([inner, outer]) => [`${name}, ${inner} to ${outer} channels`, () => make(inner, outer)]),
  );
const layers = (name, options, shapes = PICTURES) =>
  layersOf(CHANNELS, name, (inner, outer) => layer(inner, outer, shapes, options));

const CASES = {
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

  "far from 0": () => ({ ...layer(40, 50, []), runs: [[random([3, 40, 7, 9], { mean: 1000 })]] }),
  "tiny values": () => ({
    ...layer(40, 50, []),
    runs: [1e-30, 1e-37, 1e-40].map((scale) => [random([3, 40, 7, 9], { scale })]),
    lines: (a) => [`return ${conv(a, a("x"), { bias: null })}`],
  }),
  "huge values": () => ({ ...layer(40, 50, []), runs: [[random([3, 40, 7, 9], { scale: 1e36 })]] }),
  // Then a smaller picture, which what the first has left behind must not reach.
  "not finite": () => ({
    ...layer(40, 50, []),
    runs: [[spoilt([3, 40, 17, 19], [NaN, Infinity, -Infinity])], [random([3, 40, 7, 9])], [random([1, 40, 1, 1])]],
  }),
  "linear, not finite": () => ({
    ...linear(40, 50, []),
    runs: [[spoilt([70, 40], [NaN, Infinity, -Infinity])], [random([33, 40])], [random([40])]],
  }),
  "added values not finite": () =>
    addend(sum, [], { extra: { runs: [[random([3, 40, 7, 9]), spoilt([3, 50, 7, 9], [NaN, Infinity, -Infinity])]] } }),

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

module.exports = { CASES, generator };
