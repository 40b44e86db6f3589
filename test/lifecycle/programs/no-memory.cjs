// Reads a tensor of 256 MiB where memory for a copy is not to be had, then a small one.
const { execFileSync } = require("node:child_process");
const { readFileSync } = require("node:fs");
const { op } = require("../../../dist/index.js");

const used = () => 1024 * Number(/^VmSize:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))[1]);

async function main() {
  const [large, small] = [op("ones", [64 << 20]), op("ones", [3])];
  await small.data();
  execFileSync("prlimit", [`--pid=${process.pid}`, `--as=${used() + (100 << 20)}`]);
  for (const read of [(tensor) => tensor.data(), async (tensor) => tensor.dataSync()]) {
    await read(large).catch(({ code }) => {
      console.log(code);
    });
    console.log((await read(small)).join());
  }
}

void main();
