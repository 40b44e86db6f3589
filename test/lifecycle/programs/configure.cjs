// Options may come in several calls: none of them opens LibTorch, and what is said of threads holds when it is opened.
const { join } = require("node:path");
const { configure, runtimeInfo } = require("../../../dist/index.js");

const recorded = require(join(__dirname, "../../../build/libtorch.json")).path;
configure({ threads: 3 });
configure({ libtorch: process.env.LATENT_DIFFUSION_LIBTORCH ?? recorded, waitPolicy: "passive" });
const { threads, libtorch } = runtimeInfo();
console.log(threads, libtorch.source);
try {
  configure({ waitPolicy: "active" });
} catch (error) {
  console.log(error.code);
}
configure({ threads: 1 });
console.log(runtimeInfo().threads);
