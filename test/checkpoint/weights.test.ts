import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { Tensor } from "../../lib/index.js";
import { type PendingFile, writeWhole } from "../../lib/files/atomic-file.js";
import { writeSafetensors } from "../../lib/checkpoint/safetensors.js";
import {
  hasVariant,
  matchWeights,
  openWeights,
  type OpenWeights,
  renameLegacyAttention,
  saveWeights,
} from "../../lib/checkpoint/weights.js";
import type { CheckpointHandle } from "../../lib/native/contract.js";
import type { StoredTensor, Weight } from "../../lib/torch/script-values.js";
import { readTensors } from "../support/tensors.js";

const SINGLE = "diffusion_pytorch_model.safetensors";
const INDEX = "diffusion_pytorch_model.safetensors.index.json";

/** Tensors of 4 bytes an element, with values that tell them apart. */
function weights(sizes: Readonly<Record<string, number>>): Map<string, Weight> {
  return new Map(
    Object.entries(sizes).map(([name, size], i) => [name, Tensor.from(new Float32Array(size).fill(i + 1))]),
  );
}

async function open(t: Test, folder: string, options?: { variant?: string }): Promise<OpenWeights> {
  const opened = await openWeights(folder, options);
  t.teardown(() => opened.dispose());
  return opened;
}

function list(folder: string): string[] {
  return readdirSync(folder).sort();
}

t.test("a folder with one file", async (t) => {
  const folder = join(t.testdir({}), "unet");
  t.strictSame(await saveWeights(folder, weights({ b: 2, a: 3 })), [SINGLE]);
  t.strictSame(list(folder), [SINGLE]);
  const { tensors, files } = await open(t, folder);
  t.strictSame(
    [...tensors].map(([name, { dtype, shape }]) => [name, dtype, shape]),
    [
      ["a", "float32", [3]],
      ["b", "float32", [2]],
    ],
  );
  t.strictSame(files, [join(folder, SINGLE)]);
});

// The split is what huggingface_hub 2.4 makes of these sizes in this order, b being larger than a shard.
t.test("shards and their index are as diffusers writes them", async (t) => {
  const folder = t.testdir({});
  const names = await saveWeights(folder, weights({ c: 2, b: 10, a: 1, e: 2, d: 1 }), { maxShardSize: 16 });
  const shard = (i: number): string => `diffusion_pytorch_model-0000${i}-of-00003.safetensors`;
  t.strictSame(names, [shard(1), shard(2), shard(3), INDEX]);
  t.equal(
    readFileSync(join(folder, INDEX), "utf8"),
    `{
  "metadata": {
    "total_size": 64
  },
  "weight_map": {
    "a": "${shard(2)}",
    "b": "${shard(1)}",
    "c": "${shard(2)}",
    "d": "${shard(3)}",
    "e": "${shard(3)}"
  }
}
`,
  );
  const { tensors, files } = await open(t, folder);
  t.strictSame([...tensors.keys()].sort(), ["a", "b", "c", "d", "e"]);
  t.strictSame(
    files,
    [1, 2, 3].map((i) => join(folder, shard(i))),
  );
  t.strictSame(
    [...readTensors(join(folder, shard(2)))].map(([name, entry]) => [name, entry.values()]),
    [
      ["a", [3]],
      ["c", [1, 1]],
    ],
  );
});

t.test("the limit counts what is written, and a shard may be full to the byte", async (t) => {
  const folder = t.testdir({});
  t.equal((await saveWeights(folder, weights({ a: 2, b: 2 }), { maxShardSize: 16 })).length, 1);
  t.equal((await saveWeights(folder, weights({ a: 2, b: 2 }), { maxShardSize: 15 })).length, 3);
  t.equal((await saveWeights(folder, weights({ a: 2, b: 2 }), { maxShardSize: 15, dtype: "float16" })).length, 1);
  t.match((await open(t, folder)).tensors.get("a"), { dtype: "float16" });
});

t.test("an index beats a single file", async (t) => {
  const folder = t.testdir({});
  await saveWeights(folder, weights({ a: 1, b: 1 }), { maxShardSize: 4 });
  await writeSafetensors(join(folder, SINGLE), weights({ other: 1 }));
  t.strictSame([...(await open(t, folder)).tensors.keys()], ["a", "b"]);
});

t.test("a save leaves of an earlier one nothing that would be read in its place, and nothing of others", async (t) => {
  const folder = t.testdir({
    "config.json": "{}",
    "diffusion_pytorch_model.bin": "",
    "notes-00001-of-00002.safetensors": "",
  });
  const others = ["config.json", "diffusion_pytorch_model.bin", "notes-00001-of-00002.safetensors"];
  const fp16 = [
    "diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
    "diffusion_pytorch_model.fp16-00002-of-00002.safetensors",
  ];
  const fp16Index = "diffusion_pytorch_model.safetensors.index.fp16.json";
  await saveWeights(folder, weights({ a: 1, b: 1 }), { maxShardSize: 4, variant: "fp16", dtype: "bfloat16" });
  await saveWeights(folder, weights({ a: 4, b: 4 }), { maxShardSize: 8, variant: "fp16", dtype: "float16" });
  t.strictSame(list(folder), [...others, ...fp16, fp16Index].sort(), "two shards of the variant");
  await saveWeights(folder, weights({ a: 1, b: 1, c: 1 }), { maxShardSize: 4 });
  await saveWeights(folder, weights({ a: 1, b: 1 }), { maxShardSize: 4 });
  const two = [
    "diffusion_pytorch_model-00001-of-00002.safetensors",
    "diffusion_pytorch_model-00002-of-00002.safetensors",
  ];
  t.strictSame(list(folder), [...others, ...fp16, fp16Index, ...two, INDEX].sort(), "two shards in the place of three");
  await saveWeights(folder, weights({ z: 1 }));
  t.strictSame(list(folder), [...others, ...fp16, fp16Index, SINGLE].sort(), "one file in the place of two shards");
  t.strictSame([...(await open(t, folder)).tensors.keys()], ["z"]);
  await saveWeights(folder, weights({ a: 1, b: 1 }), { maxShardSize: 4 });
  t.strictSame(
    list(folder),
    [...others, ...fp16, fp16Index, ...two, INDEX].sort(),
    "two shards in the place of one file",
  );
});

t.test("a folder may be saved over while its own files are the source", async (t) => {
  const folder = t.testdir({});
  await saveWeights(folder, weights({ a: 8, b: 8, c: 8 }), { maxShardSize: 32 });
  const { tensors } = await open(t, folder);
  await saveWeights(folder, tensors, { maxShardSize: 64 });
  const again = await open(t, folder);
  await saveWeights(folder, again.tensors);
  const read = readTensors(join(folder, SINGLE));
  t.strictSame(
    [...read].map(([name, entry]) => [name, entry.values()[7]]),
    [
      ["a", 1],
      ["b", 2],
      ["c", 3],
    ],
  );
});

t.test("a seal stands only over weights that are whole", async (t) => {
  const folder = t.testdir({ "config.json": "old" });
  const seal = (content: string): PendingFile => ({
    path: join(folder, "config.json"),
    write: (temporary) => writeWhole(temporary, content),
  });
  const broken: PendingFile = { path: join(folder, "config.json"), write: () => Promise.reject(new Error("no room")) };
  await t.rejects(saveWeights(folder, weights({ a: 1 }), {}, broken), { message: "no room" });
  t.strictSame(list(folder), ["config.json"], "what fails before anything is in place leaves all as it was");
  await saveWeights(folder, weights({ a: 1 }), {}, seal("new"));
  t.equal(readFileSync(join(folder, "config.json"), "utf8"), "new");
  // A folder of that name cannot be replaced: the save is stopped half way.
  rmSync(join(folder, SINGLE));
  mkdirSync(join(folder, SINGLE, "in the way"), { recursive: true });
  await t.rejects(saveWeights(folder, weights({ b: 1 }), {}, seal("newer")), { code: "ERR_IO" });
  t.strictSame(list(folder), [SINGLE], "no config, old or new, and no temporary file");
});

t.test("a failed save leaves the folder as it was", async (t) => {
  const folder = t.testdir({});
  await saveWeights(folder, weights({ a: 1, b: 1 }), { maxShardSize: 4 });
  const before = list(folder).map((name) => [name, readFileSync(join(folder, name), "base64")]);
  const broken = weights({ a: 2, b: 2 });
  (broken.get("b") as Tensor).dispose();
  for (const maxShardSize of [8, 100])
    await t.rejects(saveWeights(folder, broken, { maxShardSize }), { code: "ERR_DISPOSED" });
  t.strictSame(
    list(folder).map((name) => [name, readFileSync(join(folder, name), "base64")]),
    before,
  );
});

t.test("variants: one file, shards, and shards under the older names", async (t) => {
  const folder = t.testdir({});
  t.strictSame(await saveWeights(folder, weights({ a: 1 }), { variant: "fp16" }), [
    "diffusion_pytorch_model.fp16.safetensors",
  ]);
  t.strictSame((await open(t, folder, { variant: "fp16" })).files, [
    join(folder, "diffusion_pytorch_model.fp16.safetensors"),
  ]);
  t.equal(await hasVariant(folder, "fp16"), true);
  t.equal(await hasVariant(folder, "ema"), false);

  const legacy = join(folder, "legacy");
  await saveWeights(legacy, weights({ a: 1, b: 1 }), { maxShardSize: 4 });
  const map: Record<string, string> = {};
  for (const [i, name] of ["a", "b"].entries()) {
    map[name] = `diffusion_pytorch_model-0000${i + 1}-of-00002.fp16.safetensors`;
    renameSync(join(legacy, `diffusion_pytorch_model-0000${i + 1}-of-00002.safetensors`), join(legacy, map[name]));
  }
  rmSync(join(legacy, INDEX));
  writeFileSync(
    join(legacy, "diffusion_pytorch_model.safetensors.fp16.index.json"),
    JSON.stringify({ weight_map: map }),
  );
  t.equal(await hasVariant(legacy, "fp16"), true);
  t.strictSame([...(await open(t, legacy, { variant: "fp16" })).tensors.keys()], ["a", "b"]);
  await saveWeights(legacy, weights({ c: 1 }), { variant: "fp16" });
  t.strictSame(list(legacy), ["diffusion_pytorch_model.fp16.safetensors"], "the older names are cleared away too");
});

t.test("what is not there is told, with what is there instead", async (t) => {
  const folder = t.testdir({
    empty: {},
    foreign: { "model.onnx": "", "config.json": "{}" },
    variants: {
      "diffusion_pytorch_model.fp16.safetensors": "",
      "diffusion_pytorch_model.non_ema-00001-of-00002.safetensors": "",
      "diffusion_pytorch_model-00001-of-00002.old.bin": "",
    },
    plain: { [SINGLE]: "" },
    file: "",
  });
  const fails = (name: string, message: RegExp, options?: { variant?: string }): Promise<unknown> =>
    t.rejects(openWeights(join(folder, name), options), { code: "ERR_CHECKPOINT_NOT_FOUND", message }, name);
  await fails("none", /checkpoint folder .*none does not exist/);
  await fails("file", /file is not a folder/);
  await fails(
    "empty",
    /Expected diffusion_pytorch_model.safetensors or .*index.json \(or .bin\) in .*empty, but the folder is empty/,
  );
  await fails("foreign", /but it holds config.json, model.onnx/);
  await fails("variants", /but it holds the variants "fp16", "non_ema", "old": pass \{ variant: "fp16" \}/);
  await fails("variants", /Expected diffusion_pytorch_model.ema.safetensors .*it holds the variants "fp16"/, {
    variant: "ema",
  });
  await fails("plain", /it holds weights without a variant: leave the option out/, { variant: "fp16" });
});

t.test("files of torch.save are read where there is no safetensors", async (t) => {
  const written = join(__dirname, "..", "fixtures", "torch-save");
  const bin = readFileSync(join(written, "zip.bin"));
  const shard = "diffusion_pytorch_model-00001-of-00001.bin";
  const map = Object.fromEntries([...readTensors(join(written, "expected.safetensors")).keys()].map((k) => [k, shard]));
  const folder = t.testdir({
    single: { "diffusion_pytorch_model.bin": bin },
    variant: { "diffusion_pytorch_model.fp16.bin": bin },
    sharded: { [shard]: bin, "diffusion_pytorch_model.bin.index.json": JSON.stringify({ weight_map: map }) },
    mixed: { "diffusion_pytorch_model.bin.index.json": JSON.stringify({ weight_map: { a: "x.safetensors" } }) },
    damaged: { "diffusion_pytorch_model.bin": bin.subarray(0, 5000) },
  });
  for (const [name, options, file] of [
    ["single", {}, "diffusion_pytorch_model.bin"],
    ["variant", { variant: "fp16" }, "diffusion_pytorch_model.fp16.bin"],
    ["sharded", {}, shard],
  ] as const) {
    const { tensors, files } = await open(t, join(folder, name), options);
    t.strictSame([...tensors.keys()].sort(), Object.keys(map).sort(), name);
    t.strictSame(files, [join(folder, name, file)]);
  }
  t.equal(await hasVariant(join(folder, "variant"), "fp16"), true);
  await t.rejects(openWeights(join(folder, "variant")), { message: /it holds the variant "fp16"/ });
  await t.rejects(openWeights(join(folder, "mixed")), {
    code: "ERR_CHECKPOINT_INVALID",
    message: /Expected a plain \*\.bin file name for "a" but received "x\.safetensors"/,
  });
  await t.rejects(openWeights(join(folder, "damaged")), { code: "ERR_CHECKPOINT_INVALID", message: /cut short/ });
  await saveWeights(join(folder, "sharded"), weights({ a: 1 }));
  t.strictSame([...(await open(t, join(folder, "sharded"))).tensors.keys()], ["a"], "safetensors comes first");
});

t.test("a variant is part of a plain file name", async (t) => {
  for (const variant of ["", "..", "a/b", "a\\b", "../fp16", "fp16.", "a..b", 16 as unknown as string]) {
    await t.rejects(
      openWeights(t.testdirName, { variant }),
      { code: "ERR_INVALID_ARGUMENT", message: /Expected a variant's name/ },
      JSON.stringify(variant),
    );
    await t.rejects(saveWeights(t.testdirName, weights({ a: 1 }), { variant }), { code: "ERR_INVALID_ARGUMENT" });
  }
});

t.test("options of a save are checked before anything is written", async (t) => {
  const folder = join(t.testdir({}), "new");
  const save = (options: object): Promise<unknown> => saveWeights(folder, weights({ a: 1 }), options);
  await t.rejects(save({ maxShardSize: 0 }), { code: "ERR_INVALID_ARGUMENT", message: /maxShardSize but received 0/ });
  await t.rejects(save({ maxShardSize: "10GB" }), { code: "ERR_INVALID_ARGUMENT" });
  await t.rejects(save({ dtype: "int8" }), { code: "ERR_INVALID_ARGUMENT", message: /for dtype/ });
  await t.rejects(save({ max_shard_size: 5 }), {
    code: "ERR_INVALID_ARGUMENT",
    message: /did you mean "maxShardSize"/,
  });
  t.notOk(existsSync(folder));
});

t.test("an index that does not fit its shards is refused", async (t) => {
  const folder = t.testdir({});
  const first = "diffusion_pytorch_model-00001-of-00002.safetensors";
  const second = "diffusion_pytorch_model-00002-of-00002.safetensors";
  await saveWeights(folder, weights({ a: 1, b: 1 }), { maxShardSize: 4 });
  const index = (value: unknown): void =>
    writeFileSync(join(folder, INDEX), typeof value === "string" ? value : JSON.stringify(value));
  const cases: [value: unknown, message: RegExp][] = [
    ["{", /not valid JSON/],
    [[], /Expected a JSON object but received an array/],
    [{ metadata: {} }, /has no weight_map object/],
    [{ weight_map: [] }, /has no weight_map object/],
    [{ weight_map: {} }, /weight_map is empty/],
    [{ weight_map: { a: 7 } }, /plain \*\.safetensors file name for "a" but received 7/],
    ...[
      "../x.safetensors",
      "/etc/x.safetensors",
      "sub/x.safetensors",
      "..\\x.safetensors",
      "C:x.safetensors",
      "x\0.safetensors",
      "x.bin",
      ".safetensors\n",
    ].map((name): [unknown, RegExp] => [
      { weight_map: { a: name } },
      /Expected a plain \*\.safetensors file name for "a"/,
    ]),
    [
      { weight_map: { a: second, b: first } },
      /disagree: a is not in .*00002-of-00002\.safetensors, b is not in .*00001/,
    ],
    [{ weight_map: { a: first, b: second, c: second } }, /disagree: c is not in diffusion_pytorch_model-00002/],
  ];
  for (const [value, message] of cases) {
    index(value);
    await t.rejects(openWeights(folder), { code: "ERR_CHECKPOINT_INVALID", message }, JSON.stringify(value));
  }
  index({ weight_map: { a: first, b: "missing.safetensors" } });
  await t.rejects(openWeights(folder), {
    code: "ERR_CHECKPOINT_NOT_FOUND",
    message: /lists files that are not in the folder: missing\.safetensors/,
  });
  index({ weight_map: { a: first } });
  t.equal((await open(t, folder)).tensors.size, 1, "a shard that no tensor is in is not opened");
  await writeSafetensors(join(folder, first), weights({ a: 1, extra: 1 }));
  index({ weight_map: { a: first, b: second } });
  await t.rejects(openWeights(folder), {
    code: "ERR_CHECKPOINT_INVALID",
    message: /extra of .*00001.* is not in the index/,
  });
  await writeSafetensors(join(folder, first), weights({ a: 1, b: 1 }));
  await t.rejects(openWeights(folder), {
    code: "ERR_CHECKPOINT_INVALID",
    message: /b is in .*00001-of-00002.safetensors, where the index says .*00002/,
  });
});

t.test("a damaged shard is told by its own name", async (t) => {
  const folder = t.testdir({});
  await saveWeights(folder, weights({ a: 1, b: 1 }), { maxShardSize: 4 });
  const second = join(folder, "diffusion_pytorch_model-00002-of-00002.safetensors");
  writeFileSync(second, readFileSync(second).subarray(0, -1));
  await t.rejects(openWeights(folder), {
    code: "ERR_CHECKPOINT_INVALID",
    message: /00002-of-00002\.safetensors: the file is cut short/,
  });
});

function stored(shape: number[], dtype: StoredTensor["dtype"] = "float32"): StoredTensor {
  return { file: {} as CheckpointHandle, dtype, shape, offset: 0 };
}

t.test("every parameter gets its tensor, in the parameters' order", (t) => {
  const found = new Map([
    ["b", stored([2], "float16")],
    ["a", stored([])],
  ]);
  const matched = matchWeights(
    [
      ["a", []],
      ["b", [2]],
    ],
    found,
    "unet",
  );
  t.strictSame([...matched.keys()], ["a", "b"]);
  t.equal(matched.get("b"), found.get("b"));
  t.end();
});

t.test("missing, unexpected and misshapen tensors are told in one error", (t) => {
  const found = new Map([
    ["a", stored([2, 3])],
    ["b", stored([6])],
    ["extra", stored([1])],
    ["steps", stored([], "int64")],
    ["__proto__", stored([1])],
  ]);
  t.throws(
    () =>
      matchWeights(
        [
          ["a", [2, 3]],
          ["b", [2, 3]],
          ["c", [1]],
          ["steps", []],
          ["constructor", [1]],
        ],
        found,
        "models/unet",
      ),
    {
      code: "ERR_CHECKPOINT_INVALID",
      message:
        "models/unet: the tensors do not fit the configuration" +
        "\n  missing (2): c, constructor" +
        "\n  unexpected (2): extra, __proto__" +
        "\n  misshapen (2): b (expected [2, 3] but received [6]), steps (expected a floating dtype but received int64)",
    },
  );
  t.throws(() => matchWeights([["a", [3, 2]]], new Map([["a", stored([2, 3])]]), "w"), {
    message: /misshapen \(1\): a \(expected \[3, 2\] but received \[2, 3\]\)$/,
  });
  t.throws(
    () =>
      matchWeights(
        Array.from({ length: 20 }, (_, i) => [`p${i}`, [1]] as const),
        new Map(),
        "w",
      ),
    { message: /missing \(20\): p0, .*p11 and 8 more$/ },
  );
  t.end();
});

t.test("attention weights of old checkpoints get their names of today", (t) => {
  const old = [
    "group_norm.weight",
    "query.weight",
    "query.bias",
    "key.weight",
    "value.bias",
    "proj_attn.weight",
    "proj_attn.bias",
  ];
  const at = (prefix: string, names: readonly string[]): Map<string, StoredTensor> =>
    new Map(names.map((name) => [`${prefix}.${name}`, stored([1])]));
  const renamed = renameLegacyAttention(at("down_blocks.1.attentions.0", old));
  t.strictSame(
    [...renamed.keys()],
    [
      "group_norm.weight",
      "to_q.weight",
      "to_q.bias",
      "to_k.weight",
      "to_v.bias",
      "to_out.0.weight",
      "to_out.0.bias",
    ].map((name) => `down_blocks.1.attentions.0.${name}`),
  );
  t.strictSame(
    [...renameLegacyAttention(at("resnets.0", old)).keys()],
    old.map((name) => `resnets.0.${name}`),
    "elsewhere they are other tensors",
  );
  const both = at("mid_block.attentions.0", ["query.weight", "to_q.weight"]);
  t.strictSame(
    [...renameLegacyAttention(both).keys()],
    [...both.keys()],
    "two tensors for one place are left for matchWeights to refuse",
  );
  t.end();
});
