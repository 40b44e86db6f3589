// argv[2]: the folder of a second copy of the package; argv[3]: another LibTorch, which must not be opened; argv[4]: another way to the
// one in use. The process lives on, whoever asks.
const { join } = require("node:path");
const { isMainThread, Worker, workerData } = require("node:worker_threads");

const dist = join(__dirname, "..", "..", "..", "dist");

function attempt(who, { configure, Tensor }, options) {
  try {
    configure(options);
    console.log(who, "has a tensor of", Tensor.from([1, 2]).numel);
  } catch (error) {
    console.log(
      who,
      error.code,
      Object.values(options).every((value) => error.message.includes(value)),
    );
  }
}

async function main([copy, other, same]) {
  const { configure, Tensor } = require(join(dist, "index.js"));
  configure({ waitPolicy: "passive" });
  Tensor.from([1]);
  attempt("copy", require(join(copy, "dist", "index.js")), { libtorch: other });
  attempt("copy", require(join(copy, "dist", "index.js")), { libtorch: same });
  for (const options of [
    { libtorch: other },
    { libtorch: same },
    { waitPolicy: "active" },
    { waitPolicy: "passive" },
  ]) {
    const worker = new Worker(__filename, { workerData: options });
    await new Promise((resolve) => {
      worker.once("exit", resolve);
    });
  }
  console.log("main has a tensor of", Tensor.from([1]).numel);
}

if (isMainThread) void main(process.argv.slice(2));
else attempt("worker", require(join(dist, "index.js")), workerData);
