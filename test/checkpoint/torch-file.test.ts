import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { writeSafetensors } from "../../lib/checkpoint/safetensors.js";
import { openTorchWeights, TorchFile } from "../../lib/checkpoint/torch-file.js";
import { PickleObject, type PickleValue } from "../../lib/files/pickle-values.js";
import type { StoredTensor } from "../../lib/torch/script-values.js";
import { readTensors } from "../support/tensors.js";

const FIXTURES = join(__dirname, "..", "fixtures", "torch-save");

/** Compare a file's tensors with those that safetensors' own library wrote, through the addon's reader. */
async function sameTensors(t: Test, tensors: ReadonlyMap<string, StoredTensor>, expected: string): Promise<void> {
  const path = join(t.testdir({}), "read.safetensors");
  await writeSafetensors(path, tensors);
  t.ok(readFileSync(path).equals(readFileSync(expected)), "every name, dtype, shape and byte");
  t.ok(readTensors(path).size > 20);
}

t.test("what torch.save wrote is read to the byte: zip, the older format, a newer protocol", async (t) => {
  for (const name of ["zip.bin", "legacy.bin", "protocol-5.bin"]) {
    await t.test(name, async (t) => {
      const file = await openTorchWeights(join(FIXTURES, name));
      t.teardown(() => file.dispose());
      await sameTensors(t, file.tensors, join(FIXTURES, "expected.safetensors"));
      t.match(file.tensors.get("shared.transposed"), { shape: [5, 4], strides: [1, 5] });
      t.equal(file.tensors.get("shared.row")?.strides, undefined, "a row is contiguous");
    });
  }
});

t.test("a Lightning checkpoint: classes as keys, and objects that are passed over and not built", async (t) => {
  for (const name of ["lightning.ckpt", "lightning-legacy.ckpt"]) {
    await t.test(name, async (t) => {
      const file = await TorchFile.open(join(FIXTURES, name));
      t.teardown(() => file.dispose());
      const value = file.value as Map<string, PickleValue>;
      t.match(
        ["epoch", "global_step", "big", "none"].map((key) => value.get(key)),
        [3, 2 ** 40, 2n ** 200n, null],
      );
      t.match([...(value.get("callbacks") as Map<PickleValue, PickleValue>).keys()], [{ name: "__main__.Callback" }]);
      t.ok(value.get("hyper_parameters") instanceof PickleObject);
      await sameTensors(
        t,
        await file.tensorsOf(value.get("state_dict") ?? null, "state_dict"),
        join(FIXTURES, "expected.safetensors"),
      );
      await t.rejects(file.tensorsOf(value), {
        code: "ERR_CHECKPOINT_INVALID",
        message: /: "epoch" is a number, not a tensor$/,
      });
      await t.rejects(file.tensorsOf(value.get("callbacks") ?? null, "callbacks"), {
        code: "ERR_CHECKPOINT_INVALID",
        message: /callbacks: it has a key that is the global __main__\.Callback \(byte \d+\)/,
      });
      await t.rejects(openTorchWeights(join(FIXTURES, name)), { code: "ERR_CHECKPOINT_INVALID" });
    });
  }
});

t.test("a file that was closed gives no more tensors", async (t) => {
  const file = await TorchFile.open(join(FIXTURES, "zip.bin"));
  file.dispose();
  file.dispose();
  await t.rejects(file.tensorsOf(file.value), { code: "ERR_DISPOSED" });
});

t.test("what is no file of torch.save is told for what it is", async (t) => {
  const tar = Buffer.alloc(1024);
  tar.write("ustar", 257);
  const cases: [name: string, bytes: Buffer, message: RegExp][] = [
    ["tar", tar, /a tar archive, as PyTorch wrote before version 0\.1\.10/],
    ["text", Buffer.from("hello"), /neither a zip archive nor a pickle/],
    ["empty", Buffer.alloc(0), /the file is empty/],
    ["pickle", Buffer.from("\x80\x02K\x01.", "latin1"), /a pickle, but not one of torch\.save/],
    ["cut", readFileSync(join(FIXTURES, "zip.bin")).subarray(0, -1), /no end of a zip archive: the file is cut short/],
    [
      "cut legacy",
      readFileSync(join(FIXTURES, "legacy.bin")).subarray(0, -1),
      /the file is cut short: it ends within the storage/,
    ],
    [
      "long legacy",
      Buffer.concat([readFileSync(join(FIXTURES, "legacy.bin")), Buffer.alloc(3)]),
      /3 bytes at the end belong to no storage/,
    ],
  ];
  const folder = t.testdir({});
  for (const [name, bytes, message] of cases) {
    const path = join(folder, name);
    writeFileSync(path, bytes);
    await t.rejects(openTorchWeights(path), { code: "ERR_CHECKPOINT_INVALID", message }, name);
  }
  await t.rejects(openTorchWeights(join(folder, "none")), { code: "ERR_CHECKPOINT_NOT_FOUND" });
  await t.rejects(openTorchWeights(folder), { code: "ERR_IO" });
  await t.rejects(openTorchWeights(join(FIXTURES, "..", "torchscript", "frozen-bfloat16.pt")), {
    code: "ERR_CHECKPOINT_INVALID",
    message: /a TorchScript file; LDMPipeline\.fromTorchScript/,
  });
});
