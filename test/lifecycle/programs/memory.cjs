// Prints by how many MiB the resident memory grew over many rounds of argv[2], after a first lot that fills the caches.
const { Tensor, Generator, op } = require("../../../dist/index.js");
const { defineWork, matrix } = require("./common.cjs");

const ROUNDS = {
  // 1 MiB each, left to the garbage collector, which learns of them through the reported bytes.
  tensors: async () => {
    op("add.Scalar", Tensor.from(new Float32Array(1 << 18)), 1);
  },
  generators: async () => {
    Generator.fromSeed(1).randn([64, 1024]);
  },
  modules: async () => {
    (await defineWork({ dtype: "float64" })).dispose();
  },
  forwards: async () => {
    (await module.work.forward(matrix(), 1)).dispose();
  },
  moves: async () => {
    await module.work.to({ dtype: module.work.dtype === "float32" ? "float64" : "float32" });
  },
  // 256 KiB that do not fit the weight: a failed job that stayed would hold its input.
  failures: async () => {
    await module.work.forward(Tensor.from(new Float32Array(3 * 21845), [3, 21845]), 1).catch(() => undefined);
  },
};

async function run(count) {
  for (let i = 0; i < count; i++) {
    await ROUNDS[process.argv[2]]();
    // Node runs finalizers between turns of the event loop.
    await new Promise(setImmediate);
  }
}

(async () => {
  module.work = await defineWork();
  await run(200);
  const before = process.memoryUsage.rss();
  await run(1000);
  console.log(((process.memoryUsage.rss() - before) / 2 ** 20).toFixed(1));
})();
