// The search of a codebook, optimised and not, beside a search in double precision; run by test/kernels/kernels.test.ts in processes
// of their own, since LibTorch reads ATEN_CPU_CAPABILITY once. Prints one line of JSON for each case: how many rows differ.
const { join } = require("node:path");

const dist = join(__dirname, "..", "..", "dist");
const { Generator, op, runtimeInfo, Tensor } = require(join(dist, "index.js"));
const { ScriptModule } = require(join(dist, "torch", "script-module.js"));

const generator = Generator.fromSeed(0);
// Far from 0 LibTorch's way by a product of matrices loses the differences, so that it finds others than the nearest.
const random = (shape, mean) => op("add.Scalar", generator.randn(shape), mean);
const fill = (values, shape) => Tensor.from(Float32Array.from(values), shape);

const CASES = {
  "3 numbers": () => ({ z: random([300, 3], 100), codes: random([1000, 3], 100) }),
  "4 numbers, few codes": () => ({ z: random([77, 4], 100), codes: random([30, 4], 100) }),
  "40 numbers": () => ({ z: random([70, 40], 300), codes: random([130, 40], 300) }),
  "more than a chunk of codes": () => ({ z: random([9, 16], 300), codes: random([9000, 16], 300) }),
  // Values are half a unit apart: many codes are equally near.
  bfloat16: () => ({ z: random([200, 3], 100), codes: random([500, 3], 100), dtype: "bfloat16" }),
  "one code": () => ({ z: random([40, 3], 0), codes: random([1, 3], 0) }),
  "no rows": () => ({ z: random([0, 3], 0), codes: random([5, 3], 0) }),
  "not a number": () => ({
    z: fill([1, 2, NaN, 1, 2, 3, Infinity, 0, 0], [3, 3]),
    codes: random([50, 3], 0),
    like: "stock",
  }),
  "a code that is not a number": () => ({
    z: random([40, 2], 0),
    codes: fill([0, 0, 1, 1, 1, NaN, NaN, 0], [4, 2]),
    like: "stock",
  }),
  "three dimensions": () => ({ z: random([2, 40, 3], 0), codes: random([50, 3], 0), like: "stock" }),
  "over rows": () => ({ z: random([40, 3], 0), codes: random([50, 3], 0), like: "stock", dimension: 0 }),
};

async function search({ z, codes, dtype = "float32", dimension = 1 }, optimize) {
  // The mode of our VQ network: for 16 bits LibTorch has the product of matrices only.
  const source = `def forward(self, z):\n    return torch.argmin(torch.cdist(z, self.codes, 2.0, 1 if z.element_size() == 2 else 0), ${dimension})`;
  const spec = { name: "Net", source, parameters: [["codes", codes.shape]], children: [] };
  const module = await ScriptModule.define(spec, new Map([["codes", codes]]), { optimize, dtype });
  const found = Array.from(await (await module.forward(await z.to(dtype))).data(), Number);
  module.dispose();
  return found;
}

async function values(tensor, dtype) {
  return Array.from(await (await (await tensor.to(dtype)).to("float32")).data(), Number);
}

/** Of equally near codes the first, as argmin says. */
async function nearest({ z, codes, dtype = "float32" }) {
  const [rows, book, [count, size]] = [await values(z, dtype), await values(codes, dtype), codes.shape];
  const distance = (row, code) =>
    Array.from({ length: size }, (_, i) => (rows[row * size + i] - book[code * size + i]) ** 2).reduce(
      (a, b) => a + b,
      0,
    );
  return Array.from({ length: z.shape[0] }, (_, row) => {
    const distances = Array.from({ length: count }, (_, code) => distance(row, code));
    return distances.indexOf(Math.min(...distances));
  });
}

async function run() {
  for (const [name, make] of Object.entries(CASES)) {
    const work = make();
    const [optimized, stock] = [await search(work, true), await search(work, false)];
    const expected = work.like === "stock" ? stock : await nearest(work);
    const wrong = (found) =>
      found.length === expected.length ? found.filter((code, row) => code !== expected[row]).length : NaN;
    console.log(
      JSON.stringify({
        name,
        capability: runtimeInfo().cpuCapability,
        wrong: wrong(optimized),
        stockWrong: wrong(stock),
      }),
    );
  }
}

run();
