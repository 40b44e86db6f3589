// Computes with 64 threads where memory for so many is not to be had, then with two: told of by its code, and nothing is lost.
// "openmp" has OpenMP itself meet the refusal, by stacks that no machine has: then it ends the process, from the executor's thread.
const { execFileSync } = require("node:child_process");
const { readFileSync } = require("node:fs");
const { configure, op } = require("../../../dist/index.js");
const { ScriptModule } = require("../../../dist/torch/script-module.js");

const used = () => 1024 * Number(/^VmSize:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))[1]);

async function main() {
  if (process.argv[2] === "openmp") process.env.OMP_STACKSIZE = "100000000G";
  configure({ threads: 1 });
  const spec = { name: "Net", source: "def forward(self, x):\n    return torch.silu(x)", parameters: [], children: [] };
  const module = await ScriptModule.define(spec, new Map());
  const x = op("zeros", [1 << 20]);
  await module.forward(x);
  // Room for a few stacks of threads.
  if (process.argv[2] !== "openmp") execFileSync("prlimit", [`--pid=${process.pid}`, `--as=${used() + (100 << 20)}`]);
  configure({ threads: 64 });
  await module.forward(x).catch(({ code, message }) => {
    console.log(code, message);
  });
  configure({ threads: 2 });
  console.log((await module.forward(x)).shape.join());
}

void main();
