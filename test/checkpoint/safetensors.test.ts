import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { Tensor } from "../../lib/index.js";
import { native } from "../../lib/native/open.js";
import { SafetensorsFile, writeSafetensors } from "../../lib/checkpoint/safetensors.js";
import type { StoredTensor, Weight } from "../../lib/torch/script-values.js";
import { op, Tensor as T } from "../../lib/torch/tensor.js";
import { readTensors } from "../support/tensors.js";

/** The bytes of a tensor of an open file. */
function bytesOf(tensor: StoredTensor, length: number): Promise<Uint8Array> {
  return native().checkpointRead(tensor.file, tensor.offset, length);
}

function values(count: number): Tensor {
  return T.from(Float32Array.from({ length: count }, (_, i) => (i - 3) / 7));
}

t.test("what is written is read again, value for value, in every dtype", async (t) => {
  const path = join(t.testdir({}), "w.safetensors");
  const dtypes = [
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "bool",
  ] as const;
  const tensors = new Map<string, Weight>(
    dtypes.map((dtype) => [dtype, op("to.dtype", T.from([0, 1, 2, 250], [2, 2]), dtype)]),
  );
  await writeSafetensors(path, tensors);
  const read = readTensors(path);
  t.strictSame([...read.keys()].sort(), [...dtypes].sort());
  for (const dtype of dtypes) {
    t.match(read.get(dtype), { dtype, shape: [2, 2] });
    const last = { int8: -6, bool: 1 }[dtype as string] ?? 250;
    t.strictSame(read.get(dtype)?.values(), [0, 1, dtype === "bool" ? 1 : 2, last], dtype);
  }
  const file = await SafetensorsFile.open(path);
  t.teardown(() => file.dispose());
  for (const dtype of dtypes) t.match(file.tensors.get(dtype), { dtype, shape: [2, 2] });
  t.strictSame(file.metadata, { format: "pt" });
  t.equal(file.path, path);
});

t.test("tensors are laid out as Python's library lays them out: wide ones first, then by name in UTF-8", async (t) => {
  const path = join(t.testdir({}), "w.safetensors");
  const tensors = new Map<string, Weight>([
    ["z.half", op("to.dtype", values(3), "float16")],
    ["\u{10000}", values(1)],
    ["\uffff", values(1)],
    ["b", op("to.dtype", values(2), "float64")],
    ["a\t\u007f", op("reshape", values(1), [])],
    ["none", T.from(new Float32Array(0), [0, 3])],
  ]);
  await writeSafetensors(path, tensors);
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE());
  t.equal(length % 8, 0, "the tensors begin at a multiple of eight bytes");
  t.equal(
    bytes.toString("utf8", 8, 8 + length).trimEnd(),
    '{"__metadata__":{"format":"pt"},"b":{"dtype":"F64","shape":[2],"data_offsets":[0,16]},' +
      '"a\\t\u007f":{"dtype":"F32","shape":[],"data_offsets":[16,20]},"none":{"dtype":"F32","shape":[0,3],"data_offsets":[20,20]},' +
      '"\uffff":{"dtype":"F32","shape":[1],"data_offsets":[20,24]},"\u{10000}":{"dtype":"F32","shape":[1],"data_offsets":[24,28]},' +
      '"z.half":{"dtype":"F16","shape":[3],"data_offsets":[28,34]}}',
  );
  t.equal(bytes.length, 8 + length + 34);
});

t.test(
  "floating tensors are converted when asked, others are not; a file's tensors are copied without reading them here",
  async (t) => {
    const folder = t.testdir({});
    await writeSafetensors(
      join(folder, "a.safetensors"),
      new Map([
        ["x", values(4)],
        ["n", T.from(new BigInt64Array([2n ** 40n]))],
      ]),
      { metadata: { origin: "a test" } },
    );
    const file = await SafetensorsFile.open(join(folder, "a.safetensors"));
    t.teardown(() => file.dispose());
    await writeSafetensors(join(folder, "b.safetensors"), file.tensors, { dtype: "bfloat16" });
    const b = readTensors(join(folder, "b.safetensors"));
    t.match(b.get("x"), { dtype: "bfloat16", shape: [4] });
    t.strictSame(b.get("x")?.values(), Array.from(await (await values(4).to("bfloat16")).data(), Number));
    t.match(b.get("n"), { dtype: "int64" });
    t.strictSame(b.get("n")?.values(), [2 ** 40]);
    t.strictSame(file.metadata, { origin: "a test" });
  },
);

t.test("a file may be written over while it is read from", async (t) => {
  const path = join(t.testdir({}), "w.safetensors");
  await writeSafetensors(path, new Map([["x", values(1000)]]));
  const file = await SafetensorsFile.open(path);
  t.teardown(() => file.dispose());
  await writeSafetensors(path, new Map([["y", file.tensors.get("x") as Weight]]), { dtype: "float16" });
  t.match(readTensors(path).get("y"), { dtype: "float16", shape: [1000] });
  t.equal(
    (await bytesOf(file.tensors.get("x") as StoredTensor, 4000)).length,
    4000,
    "the open file is the old one still",
  );
});

t.test("names that the format cannot hold are refused before anything is written", async (t) => {
  const folder = t.testdir({});
  for (const name of ["__metadata__", "\ud800"]) {
    await t.rejects(writeSafetensors(join(folder, "w.safetensors"), new Map([[name, values(1)]])), {
      code: "ERR_INVALID_ARGUMENT",
      message: /cannot hold/,
    });
  }
  t.strictSame(readdirSync(folder), []);
});

t.test("a failed write leaves the old file, and nothing else", async (t) => {
  const folder = t.testdir({ "w.safetensors": "the old file" });
  const disposed = values(1);
  disposed.dispose();
  await t.rejects(writeSafetensors(join(folder, "w.safetensors"), new Map([["x", disposed]])), {
    code: "ERR_DISPOSED",
  });
  // Cut short while it is open: the write fails half way, after its first tensor.
  await writeSafetensors(
    join(folder, "cut.safetensors"),
    new Map([
      ["x", values(1000)],
      ["y", values(1000)],
    ]),
  );
  const file = await SafetensorsFile.open(join(folder, "cut.safetensors"));
  t.teardown(() => file.dispose());
  writeFileSync(join(folder, "cut.safetensors"), readFileSync(join(folder, "cut.safetensors")).subarray(0, -100));
  await t.rejects(writeSafetensors(join(folder, "w.safetensors"), file.tensors), {
    code: "ERR_CHECKPOINT_INVALID",
    message: /cut\.safetensors: the file ends before/,
  });
  t.strictSame(readdirSync(folder).sort(), ["cut.safetensors", "w.safetensors"]);
  t.equal(readFileSync(join(folder, "w.safetensors"), "utf8"), "the old file");
  await t.rejects(writeSafetensors(join(folder, "missing", "w.safetensors"), new Map([["x", values(1)]])), {
    code: "ERR_IO",
    message: /missing/,
  });
});

t.test("a missing, damaged or foreign file is refused with its name", async (t) => {
  const folder = t.testdir({
    "short.safetensors": "abc",
    "text.safetensors": "this is not a checkpoint at all",
    "folder.safetensors": {},
  });
  await writeSafetensors(join(folder, "whole.safetensors"), new Map([["x", values(4)]]));
  writeFileSync(join(folder, "cut.safetensors"), readFileSync(join(folder, "whole.safetensors")).subarray(0, -1));
  const open = (name: string): Promise<SafetensorsFile> => SafetensorsFile.open(join(folder, name));
  await t.rejects(open("none.safetensors"), {
    name: "LatentDiffusionError",
    code: "ERR_CHECKPOINT_NOT_FOUND",
    message: /none\.safetensors/,
  });
  await t.rejects(open("short.safetensors"), {
    code: "ERR_CHECKPOINT_INVALID",
    message: /short\.safetensors: 3 bytes are too few/,
  });
  await t.rejects(open("text.safetensors"), {
    code: "ERR_CHECKPOINT_INVALID",
    message: /text\.safetensors: a header of .* bytes, above the bound/,
  });
  await t.rejects(open("cut.safetensors"), {
    code: "ERR_CHECKPOINT_INVALID",
    message: /cut\.safetensors: the file is cut short: the header describes 16 bytes of tensors, but 15/,
  });
  await t.rejects(open("folder.safetensors"), { name: "LatentDiffusionError", message: /folder\.safetensors/ });
});

t.test("after dispose the tensors cannot be read; a second dispose does nothing", async (t) => {
  const path = join(t.testdir({}), "w.safetensors");
  await writeSafetensors(path, new Map([["x", values(4)]]));
  const file = await SafetensorsFile.open(path);
  const stored = file.tensors.get("x") as StoredTensor;
  file.dispose();
  file.dispose();
  await t.rejects(writeSafetensors(`${path}.2`, new Map([["x", stored]])), { code: "ERR_DISPOSED" });
});
