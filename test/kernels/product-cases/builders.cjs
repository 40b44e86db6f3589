// What the cases share. A case is a small network of convolutions and linear layers, and what is fused with them. It writes its
// forward once, for two uses: with `a` as the identity, and with `a` as the absolute value plus some room. The second gives the
// sum of magnitudes, by which errors are measured.
const { Generator, op, Tensor } = require("../../../dist/index.js");

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

module.exports = { generator, random, spoilt, parametersOf, conv, STOCK, layer, PICTURES, layersOf, CHANNELS, layers };
