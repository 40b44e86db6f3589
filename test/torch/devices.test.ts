import { join } from "node:path";
import t from "tap";
import { Generator, LDMPipeline, runtimeInfo, Tensor, UNet2DModel } from "../../lib/index.js";
import { caseNames, compareCase } from "../support/network-cases.js";

const FIXTURES = join(__dirname, "..", "fixtures");
const CHECKPOINT = join(FIXTURES, "pipelines", "tiny", "checkpoint");
const NETWORKS = join(FIXTURES, "networks");

/** Other libraries add in another order, and cuDNN's convolutions may round products to 10 bits (TF32). */
const TOLERANCES = { cpu: 1e-4, cuda: 5e-3 };

function reasonToSkip(device: "cpu" | "cuda"): string | false {
  if (runtimeInfo().devices.some((name) => name.startsWith(device))) return false;
  return runtimeInfo().libtorch.cuda ? "no CUDA device was found" : "the LibTorch in use is a CPU build";
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Array.from(a).reduce((largest, value, i) => Math.max(largest, Math.abs(value - (b[i] ?? NaN))), 0);
}

for (const device of ["cpu", "cuda"] as const) {
  const skip = reasonToSkip(device);

  t.test(`networks hold their goldens on ${device}`, { skip }, async (t) => {
    for (const name of caseNames(NETWORKS, "")) {
      for (const optimize of [false, true]) {
        await t.test(`${name}, optimize: ${optimize}`, (t) =>
          compareCase(t, join(NETWORKS, name), { tolerance: TOLERANCES[device], optimize, device }),
        );
      }
    }
  });

  t.test(
    `one seed starts from the same noise on ${device} as on the CPU, and comes to about the same latents`,
    { skip },
    async (t) => {
      const own = await LDMPipeline.fromPretrained(CHECKPOINT, { device });
      const other = await LDMPipeline.fromPretrained(CHECKPOINT, { optimize: false });
      const found: ArrayLike<number>[] = [];
      for (const pipe of [own, other]) {
        let preview: ArrayLike<number> = [];
        for await (const event of pipe.stream({ seed: 3, numInferenceSteps: 4, eta: 0.5, previewEvery: 4 }))
          preview = event.preview?.[0]?.data ?? preview;
        found.push(preview);
        pipe.dispose();
      }
      const [mine = [], theirs = []] = found;
      t.ok(mine.length > 0);
      // Of 256 levels.
      t.ok(largestDifference(mine, theirs) <= 4, `${largestDifference(mine, theirs)} levels`);
    },
  );

  t.test(`16-bit pipelines make finite pictures on ${device}`, { skip }, async (t) => {
    const pipe = await LDMPipeline.fromPretrained(CHECKPOINT, { device });
    for (const dtype of ["bfloat16", "float16"] as const) {
      await pipe.to(dtype);
      const { images } = await pipe.generate({ seed: 1, numInferenceSteps: 2, batchSize: 2, outputType: "array" });
      t.strictSame([images.shape[0], images.data.every((value) => value >= 0 && value <= 1)], [2, true], dtype);
    }
    pipe.dispose();
  });

  t.test(`numbers of the host's memory serve as timesteps on ${device}`, { skip }, async (t) => {
    const unet = await UNet2DModel.fromPretrained(join(CHECKPOINT, "unet"), { device });
    const x = await Generator.fromSeed(0).randn([2, unet.config.in_channels, 8, 8]).to(device);
    const wanted = await (await unet.forward(x, 7)).sample.data();
    for (const timestep of [
      Tensor.from(BigInt64Array.of(7n)),
      Tensor.from(BigInt64Array.of(7n), []),
      await Tensor.from(BigInt64Array.of(7n, 7n)).to(device),
    ]) {
      const found = await (await unet.forward(x, timestep)).sample.data();
      t.ok(
        largestDifference(Array.from(found, Number), Array.from(wanted, Number)) <= 1e-5,
        `[${timestep.shape.join()}]`,
      );
    }
    unet.dispose();
  });
}
