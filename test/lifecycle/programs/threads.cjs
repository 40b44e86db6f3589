// Prints how many OpenMP threads a parallel operator of this addon's own made, after another JavaScript thread was here.
const { readdirSync } = require("node:fs");
const { isMainThread, Worker } = require("node:worker_threads");
const { Generator, op, runtimeInfo, configure } = require("../../../dist/index.js");
const { ScriptModule } = require("../../../dist/torch/script-module.js");

const threads = () => readdirSync("/proc/self/task").length;

async function main() {
  configure({ threads: 1 });
  const source = "def forward(self, x):\n    return torch.conv2d(x, self.weight, None, [1, 1], [1, 1], [1, 1], 1)";
  const weight = Generator.fromSeed(0).randn([32, 32, 3, 3]);
  const module = await ScriptModule.define(
    { name: "Net", source, parameters: [["weight", [32, 32, 3, 3]]], children: [] },
    new Map([["weight", weight]]),
    { optimize: false },
  );
  const worker = new Worker(__filename);
  await new Promise((resolve) => {
    worker.once("exit", resolve);
  });
  configure({ threads: 3 });
  const before = threads();
  op("add.Scalar", Generator.fromSeed(0).randn([1 << 20]), 1);
  const synchronous = threads() - before;
  await module.to({ optimize: true });
  await module.forward(Generator.fromSeed(1).randn([1, 32, 64, 64]));
  console.log("event loop", synchronous, "executor", threads() - before - synchronous);
}

// A worker's first use sets its own number of threads.
if (isMainThread) void main();
else runtimeInfo();
