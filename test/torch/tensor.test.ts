import { inspect } from "node:util";
import t from "tap";
import { DDIMScheduler, op, opAsync, Tensor } from "../../lib/index.js";
import { native } from "../../lib/native/open.js";

t.test("from and data round-trip every typed array", async (t) => {
  const arrays = [
    new Float32Array([1.5, -2, 0]),
    new Float64Array([1e-300, 2, 3]),
    new BigInt64Array([2n ** 62n, -1n, 0n]),
    new Int32Array([1, -2, 3]),
    new Int16Array([1, -2, 3]),
    new Int8Array([1, -2, 3]),
    new Uint8Array([0, 128, 255]),
  ];
  for (const array of arrays) {
    const tensor = Tensor.from(array, [3, 1]);
    t.strictSame(tensor.shape, [3, 1]);
    t.strictSame(await tensor.data(), array, tensor.dtype);
    t.strictSame(tensor.dataSync(), array);
  }
});

t.test("a tensor is a copy, and so is its data", async (t) => {
  const source = new Float32Array([1, 2]);
  const tensor = Tensor.from(source);
  source[0] = 9;
  const first = await tensor.data();
  first[1] = 9;
  t.strictSame(await tensor.data(), new Float32Array([1, 2]));
  t.throws(() => (tensor.shape as number[]).push(3), TypeError);
});

t.test("16-bit floats round as PyTorch's and arrive as float32; bool arrives as uint8", async (t) => {
  const values = new Float32Array([1 + 2 ** -9, 65504, 1e-8, -0.1]);
  const half = Tensor.from(values, [4], { dtype: "float16" });
  t.strictSame(await half.data(), new Float32Array([1.001953125, 65504, 0, -0.0999755859375]));
  const brain = Tensor.from(values, [4], { dtype: "bfloat16" });
  t.strictSame((await brain.data())[3], Math.fround(-0.10009765625));
  t.strictSame(await Tensor.from([0, 2], [2], { dtype: "bool" }).data(), new Uint8Array([0, 1]));
});

t.test("a plain array of numbers becomes float32", (t) => {
  t.equal(Tensor.from([1, 2]).dtype, "float32");
  t.throws(() => Tensor.from([1, "2" as never]), {
    code: "ERR_INVALID_ARGUMENT",
    message: /data\[1\].*"2" of type string/,
  });
  t.end();
});

t.test("what does not fit is refused with both numbers", (t) => {
  t.throws(() => Tensor.from([1, 2, 3], [2, 2]), {
    name: "TypeError",
    code: "ERR_INVALID_ARGUMENT",
    message: /4 elements.*3/,
  });
  t.throws(() => Tensor.from([1], [-1]), { code: "ERR_INVALID_ARGUMENT", message: /shape\[0\]/ });
  t.throws(() => Tensor.from([1], [1], { dtyp: "float32" } as never), {
    code: "ERR_INVALID_ARGUMENT",
    message: /"dtyp".*did you mean "dtype"/,
  });
  t.throws(() => Tensor.from([1], [1], { dtype: "float" as never }), {
    code: "ERR_INVALID_ARGUMENT",
    message: /one of "float32"/,
  });
  t.throws(
    () => {
      Reflect.construct(Tensor, []);
    },
    { code: "ERR_INVALID_ARGUMENT", message: /Tensor\.from/ },
  );
  t.end();
});

t.test("shared memory is copied as any other", async (t) => {
  const array = new Float32Array(new SharedArrayBuffer(12), 4).fill(3);
  const tensor = Tensor.from(array);
  array[0] = 9;
  t.strictSame(await tensor.data(), new Float32Array([3, 3]));
  const seen = t.throws(() => native().tensorFrom(array, [2], "float32"));
  t.match(seen, { code: "ERR_INVALID_ARGUMENT" }, "the addon itself refuses it by code");
});

t.test("a detached buffer is an error", (t) => {
  const array = new Float32Array([1, 2]);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  t.throws(() => Tensor.from(array, [2]), { code: "ERR_INVALID_ARGUMENT" });
  t.end();
});

t.test("empty and 0-dimensional tensors", async (t) => {
  t.strictSame(await Tensor.from(new Float32Array(0), [0, 3]).data(), new Float32Array(0));
  const scalar = Tensor.from([7], []);
  t.strictSame([scalar.shape, scalar.numel, (await scalar.data())[0]], [[], 1, 7]);
});

t.test("to converts, and returns itself where nothing changes", async (t) => {
  const tensor = Tensor.from([1.7, -1.7]);
  t.equal(await tensor.to("float32", "cpu"), tensor);
  t.strictSame(await (await tensor.to("int64")).data(), new BigInt64Array([1n, -1n]));
  await t.rejects(tensor.to("gpu" as never), { code: "ERR_INVALID_ARGUMENT", message: /"cuda:<index>".*"gpu"/ });
});

t.test("operators compute, promote as PyTorch does, and give LibTorch's message", (t) => {
  const tensor = Tensor.from([1, 4, 9], [3], { dtype: "float16" });
  t.strictSame(op("sqrt", tensor).dataSync(), new Float32Array([1, 2, 3]));
  t.equal(op("mul.Scalar", tensor, 0.5).dtype, "float16");
  t.equal(op("add.Scalar", Tensor.from(new BigInt64Array([1n])), 1).dtype, "int64");
  t.strictSame(op("cat", [tensor, tensor]).shape, [6]);
  t.throws(() => op("add.Tensor", tensor, Tensor.from([1, 2])), { code: "ERR_TORCH", message: /must match the size/ });
  const untyped = op as unknown as (name: string, ...operands: unknown[]) => Tensor;
  t.throws(() => untyped("save", tensor), { code: "ERR_INVALID_ARGUMENT", message: /not on the list/ });
  t.throws(() => untyped("sqrt", tensor, 1), {
    code: "ERR_INVALID_ARGUMENT",
    message: /takes 1 arguments but received 2/,
  });
  t.throws(() => untyped("sqrt"), { code: "ERR_INVALID_ARGUMENT", message: /without its argument/ });
  t.throws(
    () => untyped("to.dtype", tensor, 6),
    { code: "ERR_INVALID_ARGUMENT" },
    "a dtype is a name, never LibTorch's number",
  );
  t.throws(() => untyped("zeros", [2], 999), { code: "ERR_INVALID_ARGUMENT" });
  t.end();
});

t.test("the sign of zero is kept, and next to integers a whole number stays one", (t) => {
  const signs = (tensor: Tensor): boolean[] =>
    Array.from(tensor.dataSync(), Number).map((value) => Object.is(value, -0));
  t.strictSame(signs(op("mul.Scalar", Tensor.from([1, -1]), -0)), [true, false]);
  t.strictSame(signs(op("mul.Scalar", Tensor.from([1, -1]), 0)), [false, true]);
  t.equal(op("mul.Scalar", Tensor.from(new Int32Array([1])), 0).dtype, "int32");
  t.end();
});

t.test("errors of the executor have the caller's stack", async (t) => {
  async function theCaller(): Promise<Tensor> {
    return opAsync("add.Tensor", Tensor.from([1, 2]), Tensor.from([1, 2, 3]));
  }
  await t.rejects(theCaller(), { code: "ERR_TORCH", stack: /theCaller/ });
});

t.test("what an operator refuses has a stack that starts with the caller", async (t) => {
  const disposed = Tensor.from([1]);
  disposed.dispose();
  function theCaller(operand: Tensor): Tensor {
    return op("add.Tensor", Tensor.from([1, 2]), operand);
  }
  t.throws(() => theCaller(Tensor.from([1, 2, 3])), { code: "ERR_TORCH", stack: /^[^\n]*\n +at theCaller/ });
  t.throws(() => theCaller(disposed), { code: "ERR_DISPOSED", stack: /^[^\n]*\n +at theCaller/ });
  t.throws(() => op("add.Tensor", disposed, 7 as never), { code: "ERR_DISPOSED" });
  t.throws(() => op("add.Tensor", Tensor.from([1]), 7 as never), {
    code: "ERR_INVALID_ARGUMENT",
    message: /a tensor for the argument other of aten::add/,
  });
  await t.rejects(opAsync("no.such" as "abs", disposed), { code: "ERR_DISPOSED" });
  await t.rejects(opAsync("no.such" as "abs", Tensor.from([1])), { code: "ERR_INVALID_ARGUMENT" });
});

t.test("an impossible size is an error and not the end of the process", async (t) => {
  t.throws(() => op("zeros", [2 ** 50], "float32"), { code: /ERR_OUT_OF_MEMORY|ERR_TORCH/ });
  t.throws(() => op("zeros", [2 ** 40, 2 ** 40], "float32"), { code: /ERR_/ });
  await t.rejects(opAsync("zeros", [2 ** 50], "float32"), { code: /ERR_OUT_OF_MEMORY|ERR_TORCH/ });
});

t.test("dispose frees once, and later use says so", async (t) => {
  const tensor = Tensor.from([1, 2]);
  const pending = tensor.data();
  tensor.dispose();
  tensor[Symbol.dispose]();
  t.equal(tensor.disposed, true);
  t.strictSame(await pending, new Float32Array([1, 2]), "what was queued before has its own hold");
  await t.rejects(tensor.data(), { code: "ERR_DISPOSED" });
  t.throws(() => op("sqrt", tensor), { code: "ERR_DISPOSED" });
  t.match(inspect(tensor), "disposed");
});

t.test("inspect reads well", (t) => {
  t.equal(inspect(Tensor.from([1, 2])), "Tensor([2], float32, cpu) [1, 2]");
  t.equal(
    inspect(
      Tensor.from(
        Float32Array.from({ length: 6 }, (_, i) => i / 3),
        [2, 3],
      ),
    ),
    ["Tensor([2, 3], float32, cpu)", "[[      0, 0.33333, 0.66667],", " [      1,  1.3333,  1.6667]]"].join("\n"),
  );
  t.equal(
    inspect(op("arange.start_step", 0, 1000, 1, "int64")),
    "Tensor([1000], int64, cpu) [  0,   1,   2, ..., 997, 998, 999]",
  );
  t.equal(
    inspect(op("zeros", [100, 2], "float32")),
    "Tensor([100, 2], float32, cpu)\n[[0, 0],\n [0, 0],\n [0, 0],\n ...,\n [0, 0],\n [0, 0],\n [0, 0]]",
  );
  t.match(inspect(op("zeros", [1, 2, 1, 2], "float32")), /\n\[\[\[\[0, 0\]\],\n\n {2}\[\[0, 0\]\]\]\]$/);
  const odd = Tensor.from([123456.7, -0, NaN, -Infinity, 1.5e-9, 0.5, 12340.4, 2e7]);
  t.equal(
    inspect(odd).replaceAll(/ +/g, " "),
    "Tensor([8], float32, cpu)\n[1.2346e+5, -0, NaN, -Infinity, 1.5e-9, 0.5, 12340,\n 2e+7]",
  );
  t.equal(inspect(Tensor.from([1, 0], [2], { dtype: "bool" })), "Tensor([2], bool, cpu) [ true, false]");
  t.equal(inspect(Tensor.from([3], [])), "Tensor([], float32, cpu) 3");
  t.equal(inspect(op("zeros", [0, 3])), "Tensor([0, 3], float32, cpu) []");
  t.ok(
    inspect(Tensor.from(new Float32Array(64).fill(0.123)))
      .split("\n")
      .every((line) => line.length <= 82),
    "long rows are wrapped",
  );
  t.equal(inspect(op("zeros", [9, 9, 9, 9, 9])), "Tensor([9, 9, 9, 9, 9], float32, cpu)", "too much to read");
  t.match(inspect({ deep: { tensor: Tensor.from([1, 2], [2, 1]) } }), /\n +\[\[1\],\n +\[2\]\]/);
  t.end();
});

t.test("a tensor's type says which array its values arrive in", async (t) => {
  // The annotations are the test: a wrong type does not compile.
  const floats: Float32Array = await Tensor.from([1, 2]).data();
  const doubles: Float64Array = await Tensor.from(Float64Array.of(1)).data();
  const integers: BigInt64Array = Tensor.from(BigInt64Array.of(1n)).dataSync();
  const flags: Uint8Array = Tensor.from([0, 1], [2], { dtype: "bool" }).dataSync();
  const halves: Float32Array = await Tensor.from(Float64Array.of(0.5), undefined, { dtype: "bfloat16" }).data();
  const moved: Tensor<"float64"> = await Tensor.from([1]).to("cpu", "float64");
  const same: Tensor<"int32"> = await Tensor.from(Int32Array.of(1)).to({ device: "cpu" });
  const some: Tensor = moved; // A wider type takes the narrower one.
  t.strictSame(
    [floats, doubles, integers, flags, halves].map((array) => array.constructor.name),
    ["Float32Array", "Float64Array", "BigInt64Array", "Uint8Array", "Float32Array"],
  );
  t.strictSame([some.dtype, same.dtype], ["float64", "int32"]);
  // @ts-expect-error a tensor of any dtype is not known to hold floats
  const unknown: Float32Array = await some.data();
  t.ok(unknown);
  const scheduler = new DDIMScheduler();
  scheduler.setTimesteps(2);
  let x = Tensor.from([1, 2]);
  for (const timestep of scheduler.timesteps) x = scheduler.step(x, timestep, x).prevSample;
  t.equal(x.dtype, "float32", "a loop over steps keeps the type of its sample");
});
