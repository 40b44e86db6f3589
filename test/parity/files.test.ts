import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { readConfig, writeConfig } from "../../lib/config/config-file.js";
import { UNET_2D_CLASS } from "../../lib/models/unet-2d/config.js";
import { VQ_CLASS } from "../../lib/models/vq/config.js";
import { pipelineConfig, readModelIndex, writeModelIndex } from "../../lib/checkpoint/model-index.js";
import { SafetensorsFile, writeSafetensors } from "../../lib/checkpoint/safetensors.js";
import { matchWeights, openWeights, renameLegacyAttention, saveWeights } from "../../lib/checkpoint/weights.js";
import type { Weight } from "../../lib/torch/script-values.js";
import { readTensors, toTensor } from "../support/tensors.js";

// What Python's libraries wrote is read and written again; a file of the same bytes is one that Python reads alike.

const root = process.env.PARITY_DIR;
const skip = root === undefined ? "needs the files of reference/files.py in PARITY_DIR: npm run test:parity" : false;
const reference = join(root ?? "", "files");

function sameFolder(t: Test, actual: string, expected: string): void {
  t.strictSame(readdirSync(actual).sort(), readdirSync(expected).sort(), `the files of ${expected}`);
  for (const name of readdirSync(expected)) {
    t.ok(readFileSync(join(actual, name)).equals(readFileSync(join(expected, name))), `${name}, byte for byte`);
  }
}

t.test("every dtype, odd names, empty and scalar tensors", { skip }, async (t) => {
  const expected = join(reference, "tensors");
  const folder = t.testdir({ stored: {}, held: {} });
  const file = await SafetensorsFile.open(join(expected, "model.safetensors"));
  t.teardown(() => file.dispose());
  // Shuffled in, so that the order is the writer's own.
  const reversed = new Map<string, Weight>([...file.tensors].reverse());
  await writeSafetensors(join(folder, "stored", "model.safetensors"), reversed);
  sameFolder(t, join(folder, "stored"), expected);
  const held = [...readTensors(join(expected, "model.safetensors"))].map(([name, tensor]): [string, Weight] => [
    name,
    toTensor(tensor),
  ]);
  await writeSafetensors(join(folder, "held", "model.safetensors"), new Map(held));
  sameFolder(t, join(folder, "held"), expected);
});

t.test("a network, whole, sharded and as variants", { skip }, async (t) => {
  const order = JSON.parse(readFileSync(join(reference, "models", "order.json"), "utf8")) as string[];
  const cases = [
    ["single", {}],
    ["sharded", { maxShardSize: 5000 }],
    ["variant", { variant: "fp16" }],
    ["sharded-variant", { variant: "fp16", maxShardSize: 5000 }],
  ] as const;
  for (const [name, options] of cases) {
    const expected = join(reference, "models", name);
    const folder = t.testdir({});
    const weights = await openWeights(expected, "variant" in options ? { variant: options.variant } : {});
    t.teardown(() => weights.dispose());
    t.ok(weights.files.length > 2 === name.startsWith("sharded"), `${name}: ${weights.files.length} files`);
    await saveWeights(folder, new Map(order.map((tensor) => [tensor, weights.tensors.get(tensor) as Weight])), options);
    await writeConfig(folder, "config.json", UNET_2D_CLASS, await readConfig(expected, "config.json", "UNet2DModel"));
    sameFolder(t, folder, expected);
  }
});

t.test("float16 made here is the float16 made there", { skip }, async (t) => {
  const order = JSON.parse(readFileSync(join(reference, "models", "order.json"), "utf8")) as string[];
  const folder = t.testdir({});
  const weights = await openWeights(join(reference, "models", "single"));
  t.teardown(() => weights.dispose());
  await saveWeights(folder, new Map(order.map((tensor) => [tensor, weights.tensors.get(tensor) as Weight])), {
    variant: "fp16",
    dtype: "float16",
  });
  await writeConfig(
    folder,
    "config.json",
    UNET_2D_CLASS,
    await readConfig(join(reference, "models", "single"), "config.json", "UNet2DModel"),
  );
  sameFolder(t, folder, join(reference, "models", "variant"));
});

t.test("the old names of attention weights are renamed as there", { skip }, async (t) => {
  const today = await openWeights(join(reference, "models", "single"));
  const old = await openWeights(join(reference, "legacy"));
  t.teardown(() => {
    today.dispose();
    old.dispose();
  });
  const expected = [...today.tensors].map(([name, { shape }]) => [name, shape] as const);
  t.throws(() => matchWeights(expected, old.tensors, "legacy"), { code: "ERR_CHECKPOINT_INVALID", message: /query/ });
  const matched = matchWeights(expected, renameLegacyAttention(old.tensors), "legacy");
  const folder = t.testdir({});
  for (const [name, weights] of [
    ["matched", matched],
    ["expected", today.tensors],
  ] as const) {
    await writeSafetensors(join(folder, name), weights);
  }
  t.ok(
    readFileSync(join(folder, "matched")).equals(readFileSync(join(folder, "expected"))),
    "the same tensors under the same names",
  );
});

t.test("configs: whole floats stay floats, and every number and string is written as there", { skip }, async (t) => {
  const schedulers =
    skip === false ? readdirSync(join(reference, "schedulers")).map((name) => join("schedulers", name)) : [];
  t.ok(schedulers.length > 10);
  for (const name of [...schedulers, "numbers"]) {
    const text = readFileSync(join(reference, name, "scheduler_config.json"), "utf8");
    const className = /"_class_name": "(\w+)"/.exec(text)?.[1] ?? "";
    const folder = t.testdir({});
    await writeConfig(
      folder,
      "scheduler_config.json",
      { className, fields: {} },
      await readConfig(join(reference, name), "scheduler_config.json", className),
    );
    t.equal(readFileSync(join(folder, "scheduler_config.json"), "utf8"), text, `${name} ${className}`);
  }
  const folder = t.testdir({});
  await writeConfig(
    folder,
    "config.json",
    VQ_CLASS,
    await readConfig(join(reference, "vqvae"), "config.json", "VQModel"),
  );
  t.equal(
    readFileSync(join(folder, "config.json"), "utf8"),
    readFileSync(join(reference, "vqvae", "config.json"), "utf8"),
  );
});

t.test("the index of a pipeline", { skip }, async (t) => {
  const folder = t.testdir({});
  const index = await readModelIndex(join(reference, "pipeline"));
  t.strictSame(index, { vqvae: "VQModel", unet: "UNet2DModel", scheduler: "DDIMScheduler" });
  await writeModelIndex(folder, pipelineConfig(index));
  t.equal(
    readFileSync(join(folder, "model_index.json"), "utf8"),
    readFileSync(join(reference, "pipeline", "model_index.json"), "utf8"),
  );
});
