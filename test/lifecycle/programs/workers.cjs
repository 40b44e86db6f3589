// argv[2]: what happens to worker threads that compute.
const { isMainThread, parentPort, Worker, workerData } = require("node:worker_threads");

async function inWorker() {
  const { defineWork, LONG, matrix } = require("./common.cjs");
  const work = await defineWork();
  parentPort.postMessage("ready");
  const results = await Promise.all([
    work.forward(matrix(), workerData.rounds ?? LONG),
    work.forward(matrix(), workerData.rounds ?? LONG),
  ]);
  parentPort.postMessage(Array.from(await results[1].data()).slice(0, 4));
}

function start(rounds) {
  const worker = new Worker(__filename, { workerData: { rounds } });
  const next = () =>
    new Promise((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
    });
  return { worker, ready: next(), next };
}

async function terminateOne() {
  const { worker, ready } = start();
  await ready;
  await new Promise((resolve) => setTimeout(resolve, 30));
  return worker.terminate();
}

async function main() {
  switch (process.argv[2]) {
    case "terminate": {
      // The main thread never loads the addon: its last environment goes with the worker.
      console.log("terminated", await terminateOne());
      console.log("terminated", await terminateOne());
      const { ready, next } = start(5);
      await ready;
      console.log("computed", (await next()).length);
      break;
    }
    case "main-goes-on": {
      const { defineWork, matrix } = require("./common.cjs");
      const work = await defineWork();
      await terminateOne();
      console.log("computed", (await work.forward(matrix(), 5)).shape.join());
      break;
    }
    case "share": {
      const pair = [start(20), start(20)];
      const values = await Promise.all(
        pair.map(async ({ ready, next }) => {
          await ready;
          return next();
        }),
      );
      console.log("equal", JSON.stringify(values[0]) === JSON.stringify(values[1]) && values[0].length === 4);
      break;
    }
    case "exit": {
      const { ready } = start();
      await ready;
      process.exit(7);
    }
  }
}

void (isMainThread ? main() : inWorker());
