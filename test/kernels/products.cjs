// Convolutions and linear layers, optimised, beside the same in float64; run by test/kernels/kernels.test.ts in processes of their
// own, since LibTorch reads ATEN_CPU_CAPABILITY once. Prints one line of JSON for each case and dtype. Arguments: whether "amx"
// or "vectors" should be taken, and which cases (a regular expression), all if none.
const { createHash } = require("node:crypto");
const { configure, op, runtimeInfo } = require("../../dist/index.js");
const { native } = require("../../dist/native/open.js");
const { ScriptModule } = require("../../dist/torch/script-module.js");
const { CASES, generator } = require("./product-cases/index.cjs");

// Half a unit in the last place, relative: of float32, and of bfloat16, which keeps 8 bits.
const FLOAT32 = 2 ** -24;
const BFLOAT16 = 2 ** -8;
/**
 * x = high + low + rest in bfloat16, |low| <= 2^-8 |x|, |rest| <= 2^-16 |x|, so high * high + high * low + low * high lacks of
 * x * y no more than low * low, rest * y and x * rest: 3 * 2^-16 |x y|.
 */
const BFLOAT16X3 = 3 * 2 ** -16;
/**
 * Tiles of 4 x 4 results. Of normal pixels and weights the transformed values' products have in one dimension the variances
 * (row of B)^2 (row of G)^2, and the last row of A weighs their squares to 94 in all: in two dimensions sums are of 94 times
 * the deviation of a product. Over C channels roundings add up to about 0.7 C 94 units, the transforms' own to 2.8 sqrt(C) 94,
 * which for 16 channels or more is 23 units of the sum of magnitudes, 0.637 * 9 C: about 2^-17 and less than 2^-16 with six deviations.
 * A result at an edge has fewer magnitudes than its tile: the greatest counts.
 */
const WINOGRAD = 2 ** -16;
/** What float32 sums of n terms lose of the sum of magnitudes: a random walk of n roundings, six deviations long. */
const summing = (n) => 6 * Math.sqrt(n) * FLOAT32;
/** What is smaller AMX takes for 0: each value, each low part and each result. */
const SMALLEST = 2 ** -126;

const STOCK = ["aten::conv2d", "aten::convolution", "aten::_convolution", "aten::linear", "aten::group_norm"];

const identity = (text) => text;
const magnitude = (text, room = 0) => `(torch.abs(${text}) + ${room.toFixed(6)})`;

function specOf({ parameters, lines, runs, prelude = [] }) {
  const method = (name, a) => [
    `def ${name}(self, x${runs[0].length > 1 ? ", r" : ""}):`,
    ...[...prelude, ...lines(a)].map((line) => `    ${line}`),
  ];
  const source = [...method("forward", identity), ...method("magnitudes", magnitude)].join("\n");
  return { name: "Net", source, parameters: Object.entries(parameters), children: [] };
}

function weightsOf(parameters) {
  return new Map(
    Object.entries(parameters).map(([name, shape]) => {
      const fanIn = shape.slice(1).reduce((product, size) => product * size, 1);
      return [name, op("div.Scalar", generator.randn(shape), Math.sqrt(fanIn))];
    }),
  );
}

async function valuesOf(module, method, inputs) {
  const result = await module.call(method, inputs);
  return { shape: result.shape, dtype: result.dtype, values: await (await result.to("float64")).data() };
}

/** The operators that ran. What is added to whole images joins the bias [images, channels] first: no addition of pictures. */
async function profiled(work) {
  native().profileOperators(true);
  const result = await work();
  const names = native()
    .profileOperators(false)
    .map(({ name }) => name)
    .filter((name) => !/^aten::add \[\d+, \d+\]$/.test(name));
  return [result, new Set(names.map((name) => name.split(" ")[0]))];
}

/** Whether each expectation holds: an operator's name, or "!" and the name of one that must not run. */
const unmet = (expected, ran) => expected.filter((name) => ran.has(name.replace("!", "")) === name.startsWith("!"));

/** The greatest error, of what is allowed. What is not finite there must not seem so here. */
function worstOf(actual, exact, magnitudes, { of, spreads }) {
  const parts = actual.map((value, i) => {
    if (!Number.isFinite(exact[i])) return Number.isFinite(value) ? Infinity : 0;
    if (!Number.isFinite(value)) return spreads ? 0 : Infinity;
    return Math.abs(value - exact[i]) / of(Math.abs(exact[i]), magnitudes[i]);
  });
  return parts.reduce((most, part) => Math.max(most, part), 0);
}

function boundOf(work, ran, dtype, magnitudes, inputs) {
  const { depth, roundings = 0 } = work;
  const [amx, winograd] = [ran.has("amx_conv2d") || ran.has("amx_linear"), ran.has("winograd_conv2d")];
  const product = (amx && dtype === "float32" ? BFLOAT16X3 : 0) + (winograd ? WINOGRAD : 0) + summing(3 * depth);
  const rounding = dtype === "bfloat16" ? BFLOAT16 : FLOAT32;
  const greatest = magnitudes.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, value) : most), 0);
  const value = inputs.reduce((most, input) => (Number.isFinite(input) ? Math.max(most, Math.abs(input)) : most), 1);
  // Weights are of about 1 / sqrt(depth), at most 8.
  const floor = SMALLEST * depth * (value + 8);
  const of = (exact, own) => product * (winograd ? greatest : own) + rounding * (exact + roundings * own) + floor;
  // One pixel that is not finite spoils the tiles that see it.
  return { of, spreads: winograd && inputs.some((input) => !Number.isFinite(input)) };
}

/** Whether one thread, more, and another call compute the same. */
async function areBitsEqual(module, inputs) {
  const digests = new Set();
  for (const threads of [1, 2, 3, 3]) {
    configure({ threads });
    const { values } = await valuesOf(module, "forward", inputs);
    digests.add(
      createHash("sha256")
        .update(values.map((value) => (Number.isNaN(value) ? NaN : value)))
        .digest("hex"),
    );
  }
  return digests.size === 1;
}

/** Inputs as this dtype's network receives them, and the same for float64. */
async function inputsOf(run, dtype) {
  const own = await Promise.all(run.map((input) => input.values.to(input.dtype ?? dtype)));
  return [own, await Promise.all(own.map((input) => input.to("float64")))];
}

async function modulesOf(work, dtype) {
  const spec = specOf(work);
  const weights = weightsOf(work.parameters);
  const rounded = new Map(await Promise.all([...weights].map(async ([key, weight]) => [key, await weight.to(dtype)])));
  return [
    await ScriptModule.define(spec, weights, { dtype }),
    await ScriptModule.define(spec, rounded, { dtype: "float64", optimize: false }),
  ];
}

async function runOne(work, run, dtype, [module, reference]) {
  const [inputs, exactInputs] = await inputsOf(run, dtype);
  const [actual, operators] = await profiled(() => valuesOf(module, "forward", inputs));
  const ran = new Set([...operators].map((operator) => operator.split("::")[1]));
  const ours = [...operators].some((operator) => operator.startsWith("latent_diffusion::"));
  const exact = await valuesOf(reference, "forward", exactInputs);
  const { values: magnitudes } = await valuesOf(reference, "magnitudes", exactInputs);
  const bound = boundOf(work, ran, dtype, magnitudes, await exactInputs[0].data());
  // Stock operators' bits may depend on threads, and their bfloat16 is their own.
  const alone = ours && !STOCK.some((name) => operators.has(name));
  return {
    ran,
    wrongShape: actual.shape.join() !== exact.shape.join(),
    // Stock operators' bfloat16 has no such bound; that ours ran is what the case expects by name.
    worst: ours || dtype === "float32" ? worstOf(actual.values, exact.values, magnitudes, bound) : 0,
    bitsDiffer: alone && !(await areBitsEqual(module, inputs)),
  };
}

async function runCase(name, work, dtype, amx) {
  const modules = await modulesOf(work, dtype);
  const expected = amx ? work.operators : work.otherwise;
  const result = { name, dtype, capability: runtimeInfo().cpuCapability, worst: 0, faults: [] };
  // Without one, a pass that does nothing would go unnoticed.
  if (!expected?.length) result.faults.push("the case names no operator that it expects");
  for (const run of work.runs) {
    const { ran, wrongShape, worst, bitsDiffer } = await runOne(work, run, dtype, modules);
    const shapes = run.map(({ values }) => `[${values.shape.join()}]`).join(" and ");
    result.worst = Math.max(result.worst, worst);
    if (!(worst <= 1)) result.faults.push(`${shapes}: ${worst} times the error that is allowed`);
    if (wrongShape) result.faults.push(`${shapes}: another shape`);
    if (bitsDiffer) result.faults.push(`${shapes}: bits depend on the number of threads or the call`);
    for (const operator of unmet(expected, ran))
      result.faults.push(`${shapes}: expected ${operator}, ran ${[...ran].join(" ")}`);
  }
  for (const module of modules) module.dispose();
  return result;
}

async function run([way, pattern = ""]) {
  for (const [name, make] of Object.entries(CASES)) {
    if (!new RegExp(pattern).test(name)) continue;
    for (const dtype of ["float32", "bfloat16"]) {
      const result = await runCase(name, make(), dtype, way === "amx").catch((error) => ({
        name,
        dtype,
        capability: runtimeInfo().cpuCapability,
        faults: [error.message],
      }));
      console.log(JSON.stringify(result));
    }
  }
}

run(process.argv.slice(2));
