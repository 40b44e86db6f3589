import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { UNet2DModel } from "../../lib/index.js";
import { writeSafetensors } from "../../lib/checkpoint/safetensors.js";
import { openTorchWeights, TorchFile } from "../../lib/checkpoint/torch-file.js";
import { openWeights } from "../../lib/checkpoint/weights.js";
import type { PickleValue } from "../../lib/files/pickle-values.js";
import type { StoredTensor } from "../../lib/torch/script-values.js";

// What Python's torch.save wrote, live, is read here to the byte.

const root = process.env.PARITY_DIR;
const skip =
  root === undefined ? "needs the files of reference/torch-files.py in PARITY_DIR: npm run test:parity" : false;
const reference = join(root ?? "", "torch-files");

/** Write both as safetensors: files of equal bytes hold equal names, dtypes, shapes and values. */
async function same(
  t: Test,
  actual: ReadonlyMap<string, StoredTensor>,
  expected: ReadonlyMap<string, StoredTensor>,
): Promise<void> {
  const folder = t.testdir({});
  await writeSafetensors(join(folder, "actual"), actual);
  await writeSafetensors(join(folder, "expected"), expected);
  t.ok(
    readFileSync(join(folder, "actual")).equals(readFileSync(join(folder, "expected"))),
    `${actual.size} tensors, to the byte`,
  );
}

t.test("networks that diffusers saved as pickles", { skip }, async (t) => {
  const names = readdirSync(join(reference, "networks"));
  t.ok(names.length >= 7);
  for (const name of names) {
    await t.test(name, async (t) => {
      const folder = join(reference, "networks", name);
      const options = name.includes("variant") ? { variant: "fp16" } : {};
      const bin = await openWeights(join(folder, "bin"), options);
      const safetensors = await openWeights(join(folder, "safetensors"), options);
      t.teardown(() => [bin, safetensors].forEach((weights) => weights.dispose()));
      t.ok(
        bin.files.every((file) => file.endsWith(".bin")),
        bin.files.join(", "),
      );
      t.equal(bin.files.length > 1, name.startsWith("sharded"));
      await same(t, bin.tensors, safetensors.tensors);
      const strided = [...bin.tensors.values()].filter(({ strides }) => strides);
      t.equal(strided.length > 0, name === "channels-last", `${strided.length} tensors are not contiguous`);
      using network = await UNet2DModel.fromPretrained(join(folder, "bin"), options);
      await network.savePretrained(join(t.testdir({}), "saved"), {});
    });
  }
});

t.test("the format before PyTorch 1.6, with a pickle of some megabytes", { skip }, async (t) => {
  const folder = join(reference, "legacy");
  const file = await openTorchWeights(join(folder, "diffusion_pytorch_model.bin"));
  t.teardown(() => file.dispose());
  const path = join(t.testdir({}), "read");
  await writeSafetensors(path, file.tensors);
  t.ok(readFileSync(path).equals(readFileSync(join(folder, "expected.safetensors"))), `${file.tensors.size} tensors`);
});

t.test("shared and strided storages, every dtype, and a checkpoint with other things beside", { skip }, async (t) => {
  for (const name of ["zip.bin", "legacy.bin", "protocol-5.bin", "lightning.ckpt", "lightning-legacy.ckpt"]) {
    const file = await TorchFile.open(join(reference, "state", name));
    t.teardown(() => file.dispose());
    const state = name.startsWith("lightning")
      ? (file.value as Map<string, PickleValue>).get("state_dict")
      : file.value;
    const path = join(t.testdir({}), "read");
    await writeSafetensors(path, await file.tensorsOf(state ?? null));
    t.ok(readFileSync(path).equals(readFileSync(join(reference, "state", "expected.safetensors"))), name);
  }
});
