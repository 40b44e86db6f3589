// Prints what argv[2] finds out about memory of large tensors, in MiB or as it says.
const { readFileSync } = require("node:fs");
const { isMainThread, parentPort, Worker, workerData } = require("node:worker_threads");
const { op, opAsync } = require("../../../dist/index.js");
const { ScriptModule } = require("../../../dist/torch/script-module.js");

const MIB = 2 ** 20;
const PAGE = 4096;

const status = (key) =>
  Number(new RegExp(`^${key}:\\s+(\\d+)`, "m").exec(readFileSync("/proc/self/status", "utf8"))[1]) / 1024;
const fill = (mebibytes, value = 1) => opAsync("full", [(mebibytes * MIB) / 4], value, "float32");
const sleep = (milliseconds) =>
  new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
  });

/** How much of a tensor's memory is fresh pages, on average, when one after another is made and disposed of. */
async function fresh() {
  const rounds = 20;
  const mebibytes = 48;
  (await fill(mebibytes)).dispose();
  const before = process.resourceUsage().minorPageFault;
  for (let i = 0; i < rounds; i++) (await fill(mebibytes)).dispose();
  const faults = process.resourceUsage().minorPageFault - before;
  return faults / rounds / ((mebibytes * MIB) / PAGE);
}

/** By how much the peak exceeds the largest of many tensors of growing size, of which there is one at a time. */
async function peak() {
  (await fill(1)).dispose();
  const before = status("VmRSS");
  const largest = 128;
  for (let mebibytes = 8; mebibytes <= largest; mebibytes += 8) (await fill(mebibytes)).dispose();
  return status("VmHWM") - before - largest;
}

/** What stays when nothing is in use any more: at once, and after a pause. */
async function pause() {
  (await fill(1)).dispose();
  await sleep(2000);
  const before = status("VmRSS");
  (await fill(200)).dispose();
  const atOnce = status("VmRSS") - before;
  for (let i = 0; i < 50 && status("VmRSS") - before > 10; i++) await sleep(200);
  return `${atOnce} ${status("VmRSS") - before}`;
}

/** What stays of the memory that attention packs 512 Ki keys of one head into, about 256 MiB. */
async function scratch() {
  const source =
    "def forward(self, q):\n    k = q.expand(1, 1, 512 * 1024, q.size(3))\n    return torch.scaled_dot_product_attention(q, k, k)";
  const module = await ScriptModule.define({ name: "Net", source, parameters: [], children: [] }, new Map());
  const q = op("ones", [1, 1, 1, 64]);
  await q.data();
  const before = status("VmRSS");
  await module.forward(q);
  return `${status("VmHWM") - before} ${status("VmRSS") - before}`;
}

/** Whether environments that make tensors at the same time, each on its thread, write into each other's. */
async function environments() {
  const workers = Array.from({ length: 4 }, (_, i) => new Worker(__filename, { workerData: i + 1 }));
  const intact = await Promise.all(
    workers.map(
      (worker) =>
        new Promise((resolve, reject) => {
          worker.once("message", resolve);
          worker.once("error", reject);
        }),
    ),
  );
  return intact.every(Boolean);
}

function inWorker() {
  let held = [];
  let intact = true;
  for (let i = 0; i < 100; i++) {
    held.push(op("full", [((1 + (i % 3)) * MIB) / 4], workerData, "float32"));
    if (held.length < 5) continue;
    for (const tensor of held) {
      const values = tensor.dataSync();
      intact &&= values.every((value) => value === workerData);
      tensor.dispose();
    }
    held = [];
  }
  parentPort.postMessage(intact);
}

async function main() {
  console.log(String(await { fresh, peak, pause, scratch, environments }[process.argv[2]]()));
}

if (isMainThread) void main();
else inWorker();
