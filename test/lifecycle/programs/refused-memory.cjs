// Limits its address space, then asks for more, in argv[2]'s way, and for less.
const { execFileSync } = require("node:child_process");
const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const { LDMPipeline, op, Tensor, UNet2DModel } = require("../../../dist/index.js");

const CHECKPOINT = join(__dirname, "..", "..", "fixtures", "pipelines", "tiny", "checkpoint");

/** Let the process take so many MiB more; then again as much as it likes. */
function limit(mebibytes) {
  const used = 1024 * Number(/^VmSize:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))[1]);
  const bytes = mebibytes === undefined ? "unlimited" : used + mebibytes * 2 ** 20;
  execFileSync("prlimit", [`--pid=${process.pid}`, `--as=${bytes}:unlimited`]);
}

/** A network of 45 million parameters, 180 MB. */
const WIDE = {
  sample_size: 8,
  block_out_channels: [512, 512],
  down_block_types: ["DownBlock2D", "DownBlock2D"],
  up_block_types: ["UpBlock2D", "UpBlock2D"],
};

const WAYS = {
  // Refused before any work, by the estimate.
  generate: async (pipe) => {
    const run = (batchSize) => pipe.generate({ batchSize, numInferenceSteps: 1, seed: 1 });
    return [() => run(50_000), () => run(2)];
  },
  // Refused by the system, in the middle of a network.
  forward: async (pipe) => {
    const run = (batch) => pipe.unet.forward(op("ones", [batch, 3, 8, 8]), 5);
    return [() => run(30_000), () => run(2)];
  },
  decode: async (pipe) => {
    const run = (side) => pipe.vqvae.decode(op("ones", [1, 3, side, side]));
    return [() => run(1024), () => run(8)];
  },
  load: async () => {
    const load = (channels) =>
      UNet2DModel.fromConfig({ ...WIDE, block_out_channels: [channels, channels], norm_num_groups: 8 });
    return [() => load(512), () => load(16)];
  },
  move: async (pipe) => {
    const wide = await UNet2DModel.fromConfig(WIDE);
    return [() => wide.to("float64"), () => pipe.to("float64")];
  },
  tensor: async () => {
    const data = new Float32Array(100 << 20);
    return [async () => Tensor.from(data), async () => Tensor.from(data.subarray(0, 9))];
  },
};

async function main() {
  const pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
  await pipe.generate({ numInferenceSteps: 1, seed: 1 });
  const [large, small] = await WAYS[process.argv[2]](pipe);
  limit(200);
  for (let round = 0; round < 2; round++) {
    await large().then(
      () => console.log("not refused"),
      ({ code }) => console.log(code),
    );
    await small();
    console.log("done");
  }
  limit();
  await pipe.to("float32");
  console.log((await pipe.generate({ numInferenceSteps: 1, seed: 1 })).images.length);
}

void main();
