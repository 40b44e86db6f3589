import { linkSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { inspect } from "node:util";
import t, { type Test } from "tap";
import { Generator, ScriptModule, Tensor } from "../../lib/index.js";
import type { ModuleSpec } from "../../lib/native/contract.js";
import { native } from "../../lib/native/open.js";
import { writeSafetensors } from "../../lib/checkpoint/safetensors.js";
import { readTensors } from "../support/tensors.js";

const FROZEN = join(__dirname, "..", "fixtures", "torchscript", "frozen-bfloat16.pt");

const LINEAR: ModuleSpec = {
  name: "Linear",
  source: "def forward(self, x):\n    return torch.linear(x, self.weight, self.bias)",
  parameters: [
    ["weight", [4, 3]],
    ["bias", [4]],
  ],
  children: [],
};

const NET: ModuleSpec = {
  name: "Net",
  source: [
    "def forward(self, x, scale: float = 2.0):",
    '    return torch.mul(getattr(self.layers, "0").forward(x), scale)',
    "def pair(self, x, flag: bool, label: Optional[Tensor] = None):",
    "    return x, [x + 1 if flag else x - 1], label is None",
  ].join("\n"),
  parameters: [],
  children: [
    [
      "layers",
      { name: "List", source: "def forward(self, x):\n    return x", parameters: [], children: [["0", LINEAR]] },
    ],
  ],
};

const generator = Generator.fromSeed(0);
const WEIGHTS = new Map([
  ["layers.0.weight", generator.randn([4, 3])],
  ["layers.0.bias", generator.randn([4])],
]);
const X = generator.randn([2, 3]);

/** On AMX a product is three of bfloat16, good to about 2^-17; the magnitudes that are added up here stay below 10. */
const OPTIMIZED = 1e-4;

/** W x + b, by hand. */
function expected(scale: number): number[] {
  const [weight, bias, x] = [...WEIGHTS.values(), X].map((tensor) => Array.from(tensor.dataSync(), Number)) as [
    number[],
    number[],
    number[],
  ];
  return [0, 1].flatMap((row) =>
    [0, 1, 2, 3].map(
      (out) => scale * [0, 1, 2].reduce((sum, i) => sum + at(x, 3 * row + i) * at(weight, 3 * out + i), at(bias, out)),
    ),
  );
}

function at(list: readonly number[], index: number): number {
  return list[index] ?? NaN;
}

async function values(module: ScriptModule, ...args: readonly (Tensor | number)[]): Promise<number[]> {
  return Array.from(await ((await module.forward(...args)) as Tensor).data(), Number);
}

function near(t: Test, actual: readonly number[], wanted: readonly number[], tolerance: number): void {
  const worst = Math.max(...actual.map((value, i) => Math.abs(value - (wanted[i] ?? NaN))));
  t.ok(actual.length === wanted.length && worst <= tolerance, `largest error ${worst}`);
}

t.test("define and forward, optimised or not", async (t) => {
  for (const optimize of [true, false]) {
    using module = await ScriptModule.define(NET, WEIGHTS, { optimize });
    t.match(module, { device: "cpu", dtype: "float32", optimize });
    const tolerance = optimize ? OPTIMIZED : 1e-6;
    near(t, await values(module, X), expected(2), tolerance);
    near(t, await values(module, X, 0.5), expected(0.5), tolerance);
  }
});

t.test("other methods, other types of arguments and results", async (t) => {
  using module = await ScriptModule.define(NET, WEIGHTS);
  const [same, [more], none] = (await module.call("pair", [X, true])) as unknown as [Tensor, [Tensor], boolean];
  t.strictSame(same.dataSync(), X.dataSync());
  t.strictSame(more.shape, [2, 3]);
  t.equal(none, true);
  t.equal(((await module.call("pair", [X, false, null])) as unknown[])[2], true);
  t.equal(((await module.call("pair", [X, false, X])) as unknown[])[2], false);
});

t.test("wrong calls are refused by name", async (t) => {
  using module = await ScriptModule.define(NET, WEIGHTS);
  await t.rejects(module.call("nope", [X]), { code: "ERR_INVALID_ARGUMENT", message: /forward, pair/ });
  await t.rejects(module.forward(), { code: "ERR_INVALID_ARGUMENT", message: /without its argument x/ });
  await t.rejects(module.forward(X, 1, 2), { code: "ERR_INVALID_ARGUMENT", message: /takes 2 arguments/ });
  await t.rejects(module.forward(3), { code: "ERR_INVALID_ARGUMENT" });
  await t.rejects(module.forward(Tensor.from([1, 2])), {
    code: "ERR_TORCH",
    message: /^mat1 and mat2|^size mismatch|^Expected an input of 3 channels/,
    cause: { message: /Traceback of TorchScript/ },
  });
});

t.test(
  "tensors that LibTorch negates as it reads them, or has as zeros nowhere, are read as what they are",
  async (t) => {
    const source = [
      "def negative(self, x):",
      "    return torch.imag(torch.conj(torch.view_as_complex(x)))",
      "def zeros(self, x):",
      "    return torch._efficientzerotensor([2, 3])",
    ].join("\n");
    using module = await ScriptModule.define({ name: "Net", source, parameters: [], children: [] }, new Map());
    const x = Tensor.from([1, 2, 3, 4], [2, 2]);
    const path = join(t.testdir({}), "weights.safetensors");
    for (const [method, expected] of [
      ["negative", [-2, -4]],
      ["zeros", [0, 0, 0, 0, 0, 0]],
    ] as const) {
      const tensor = (await module.call(method, [x])) as Tensor;
      t.strictSame(await tensor.data(), new Float32Array(expected), method);
      t.strictSame(tensor.dataSync(), new Float32Array(expected), method);
      await writeSafetensors(path, new Map([["w", tensor]]));
      t.strictSame(readTensors(path).get("w")?.values(), expected, `${method}, written`);
    }
  },
);

t.test("a tensor that shows more than an array may hold is refused and not copied", async (t) => {
  const spec: ModuleSpec = {
    name: "Wide",
    source: "def forward(self, x, count: int):\n    return x.expand(count)",
    parameters: [],
    children: [],
  };
  using module = await ScriptModule.define(spec, new Map());
  for (const count of [2 ** 32 + 1, 2 ** 45, 2 ** 53]) {
    using wide = (await module.forward(Tensor.from(new Uint8Array(1)), count)) as Tensor;
    await t.rejects(wide.data(), {
      code: "ERR_INVALID_ARGUMENT",
      message: new RegExp(`at most 4294967296 elements.*received ${count} elements`),
    });
    t.throws(() => wide.dataSync(), { code: "ERR_INVALID_ARGUMENT" });
  }
});

t.test("source that does not compile is an error that shows where", async (t) => {
  const broken = { ...LINEAR, source: "def forward(self, x):\n    return self.nothing" };
  await t.rejects(ScriptModule.define(broken, new Map()), { code: "ERR_TORCHSCRIPT_INVALID", message: /nothing/ });
  await t.rejects(ScriptModule.define(NET, new Map()), {
    code: "ERR_CHECKPOINT_INVALID",
    message: /layers\.0\.weight/,
  });
});

t.test("a specification that contains itself is refused, not followed", async (t) => {
  const children: (readonly [string, ModuleSpec])[] = [];
  const cyclic: ModuleSpec = {
    name: "Cyclic",
    source: "def forward(self, x):\n    return x",
    parameters: [],
    children,
  };
  children.push(["own", cyclic]);
  await t.rejects(ScriptModule.define(cyclic, new Map()), {
    code: "ERR_INVALID_ARGUMENT",
    message: /nested too deeply/,
  });
});

t.test("a convolution that LibTorch will refuse does not end the process while it is optimised", async (t) => {
  const source = "def forward(self, x):\n    return torch.conv2d(x, self.weight, None, [0, 0], [1, 1], [1, 1], 1)";
  const spec: ModuleSpec = { name: "Conv", source, parameters: [["weight", [8, 8, 3, 3]]], children: [] };
  using module = await ScriptModule.define(spec, new Map([["weight", Generator.fromSeed(0).randn([8, 8, 3, 3])]]));
  await t.rejects(module.forward(Generator.fromSeed(1).randn([1, 8, 16, 16])), {
    code: "ERR_TORCH",
    message: /stride/,
  });
});

t.test("arguments that cannot be", async (t) => {
  using module = await ScriptModule.define(NET, WEIGHTS);
  await t.rejects(module.call("forward", undefined as never), {
    code: "ERR_INVALID_ARGUMENT",
    message: /an array of arguments for args but received undefined/,
  });
  await t.rejects(module.forward(7), {
    code: "ERR_INVALID_ARGUMENT",
    message: /a tensor for the argument x of forward/,
  });
  await t.rejects(module.forward(undefined as never), {
    code: "ERR_INVALID_ARGUMENT",
    message: /without its argument x/,
  });
  t.equal(await module.to(), module, "a move to nowhere");
});

t.test("of moves that were asked for at once, the last stands; a staged one holds up the next", async (t) => {
  using module = await ScriptModule.define(NET, WEIGHTS);
  const staged = await module.stage({ dtype: "float64" });
  const next = module.to({ dtype: "bfloat16" });
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.equal(module.dtype, "float32");
  staged.commit();
  await next;
  t.equal(module.dtype, "bfloat16");
  (await module.stage({ dtype: "float64" })).discard();
  await t.rejects(module.to({ dtype: "int64" as never }), { code: "ERR_INVALID_ARGUMENT" });
  await module.to({ dtype: "float32" });
  t.equal(module.dtype, "float32", "what failed or was given up holds up nothing");
});

t.test("to derives from the canonical weights, so nothing is lost on the way back", async (t) => {
  using module = await ScriptModule.define(NET, WEIGHTS);
  const before = await values(module, X);
  await module.to({ dtype: "bfloat16" });
  t.equal(((await module.forward(await X.to("bfloat16"))) as Tensor).dtype, "bfloat16");
  await module.to({ dtype: "float32" });
  t.strictSame(await values(module, X), before);
  await t.rejects(module.to({ dtype: "int64" as never }), { code: "ERR_INVALID_ARGUMENT" });
  t.strictSame(await values(module, X), before, "the old state stands");
});

t.test("save and load round-trip; loading asks for trust", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "script-module-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "net.pt");
  using module = await ScriptModule.define(NET, WEIGHTS);
  await module.save(path);
  await t.rejects(ScriptModule.load(path, {} as never), { code: "ERR_TORCHSCRIPT_UNTRUSTED", message: /runs code/ });
  for (const optimize of [true, false]) {
    using loaded = await ScriptModule.load(path, { trusted: true, optimize });
    t.strictSame(
      loaded.info.parameters.map(({ name }) => name),
      [...WEIGHTS.keys()],
    );
    t.equal(loaded.weights, null);
    near(t, await values(loaded, X), expected(2), OPTIMIZED);
    await loaded.to({ dtype: "float64" });
    near(t, await values(loaded, await X.to("float64")), expected(2), 1e-6);
  }
});

t.test("save writes beside the file and puts it in place when it is whole", async (t) => {
  const folder = t.testdir({});
  const path = join(folder, "net.pt");
  using module = await ScriptModule.define(NET, WEIGHTS);
  await module.save(path);
  const before = readFileSync(path);
  linkSync(path, join(folder, "old.pt"));
  await module.save(path, { dtype: "float64" });
  t.ok(readFileSync(join(folder, "old.pt")).equals(before), "the old file was not written into");
  t.notOk(readFileSync(path).equals(before));
  await t.rejects(module.save(join(folder, "nowhere", "net.pt")), { code: "ERR_IO", message: /nowhere/ });
  t.strictSame(readdirSync(folder).sort(), ["net.pt", "old.pt"], "nothing is left lying about");
  const brief = await ScriptModule.define(NET, WEIGHTS);
  const saving = brief.save(path);
  brief.dispose();
  await saving;
  t.ok(readFileSync(path).equals(before), "a save that was begun outlives its module");
});

t.test("a file of mixed dtypes keeps them, unless one is asked for", async (t) => {
  const path = join(t.testdir({}), "mixed.pt");
  const spec: ModuleSpec = {
    name: "Mixed",
    source: "def forward(self):\n    return self.narrow * 1, self.wide * 1",
    parameters: [
      ["narrow", [1]],
      ["wide", [1]],
    ],
    children: [],
  };
  const weights = new Map<string, Tensor>([
    ["narrow", Tensor.from([1 / 3])],
    ["wide", Tensor.from(Float64Array.of(1 / 3))],
  ]);
  {
    using module = await ScriptModule.define(spec, weights);
    await module.save(path);
  }
  const dtypes = async (module: ScriptModule): Promise<unknown[]> =>
    ((await module.forward()) as Tensor[]).map(({ dtype }) => dtype);
  using stored = await ScriptModule.load(path, { trusted: true });
  t.strictSame(await dtypes(stored), ["float32", "float64"]);
  t.equal(stored.dtype, "float32", "it is known by the first one's");
  t.equal(((await stored.forward()) as Tensor[])[1]?.dataSync()[0], 1 / 3, "no digit is lost");
  using cast = await ScriptModule.load(path, { trusted: true, dtype: "float32" });
  t.strictSame(await dtypes(cast), ["float32", "float32"]);
});

t.test("a frozen file runs in the dtype of its constants, and in no other", async (t) => {
  using module = await ScriptModule.load(FROZEN, { trusted: true });
  t.match(module.info, { parameters: [], bakedDevice: "cpu", bakedDtype: "bfloat16" });
  t.equal(module.dtype, "bfloat16");
  const result = (await module.forward(Tensor.from([1, 1, 1], [1, 3], { dtype: "bfloat16" }))) as Tensor;
  t.strictSame(await result.data(), new Float32Array([2.5, 2.5]));
  await t.rejects(module.to({ dtype: "float32" }), {
    code: "ERR_CONFIG_UNSUPPORTED",
    message: /frozen for cpu and bfloat16/,
  });
  await t.rejects(ScriptModule.load(FROZEN, { trusted: true, dtype: "float32" }), { code: "ERR_CONFIG_UNSUPPORTED" });
});

t.test("a load that is refused lets go of what it read", async (t) => {
  const addon = native();
  const { dispose } = addon;
  let freed = 0;
  addon.dispose = (handle) => {
    freed++;
    dispose(handle);
  };
  t.teardown(() => {
    addon.dispose = dispose;
  });
  await t.rejects(ScriptModule.load(FROZEN, { trusted: true, dtype: "float64" }), { code: "ERR_CONFIG_UNSUPPORTED" });
  t.equal(freed, 2, "the module and the file that was checked: at once, not when the garbage is collected");
});

t.test("files that are none", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "script-module-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "net.pt");
  await t.rejects(ScriptModule.load(path, { trusted: true }), { code: "ERR_CHECKPOINT_NOT_FOUND", message: /net\.pt/ });
  await t.rejects(
    ScriptModule.load(path, { trusted: true, dtype: "float8" as never }),
    { code: "ERR_INVALID_ARGUMENT" },
    "options before files",
  );
  await t.rejects(ScriptModule.load(folder, { trusted: true }), { code: "ERR_IO", message: /not a regular file/ });
  writeFileSync(path, "nonsense");
  await t.rejects(ScriptModule.load(path, { trusted: true }), { code: "ERR_TORCHSCRIPT_INVALID" });
  using module = await ScriptModule.define(NET, WEIGHTS);
  rmSync(path);
  await module.save(path);
  const size = readFileSync(path).length;
  for (const part of [0.2, 0.5, 0.9, 0.99]) {
    truncateSync(path, Math.floor(size * part));
    await t.rejects(ScriptModule.load(path, { trusted: true }), { code: "ERR_TORCHSCRIPT_INVALID" });
    rmSync(path);
    await module.save(path);
  }
});

t.test("abort: at once, with the reason; what is queued is dropped", async (t) => {
  const source =
    "def forward(self, x, rounds: int):\n    for _ in range(rounds):\n        x = torch.tanh(torch.matmul(x, x))\n    return x";
  using module = await ScriptModule.define({ name: "Work", source, parameters: [], children: [] }, new Map());
  const x = Generator.fromSeed(0).randn([128, 128]);
  const running = module.forward(x, 300);
  const controller = new AbortController();
  const queued = module.call("forward", [x, 1_000_000_000], { signal: controller.signal });
  const reason = new Error("changed my mind");
  controller.abort(reason);
  await t.rejects(queued, { name: "AbortError", code: "ERR_ABORTED", cause: reason });
  await t.rejects(module.call("forward", [x, 1], { signal: AbortSignal.abort() }), { name: "AbortError" });
  t.strictSame(((await running) as Tensor).shape, [128, 128]);
  t.strictSame(((await module.forward(x, 1)) as Tensor).shape, [128, 128], "the queue went on");
});

t.test("dispose", async (t) => {
  const module = await ScriptModule.define(NET, WEIGHTS);
  const pending = module.forward(X);
  module.dispose();
  module.dispose();
  near(t, Array.from(await ((await pending) as Tensor).data(), Number), expected(2), OPTIMIZED);
  t.equal(module.disposed, true);
  t.match(inspect(module), "disposed");
  await t.rejects(module.forward(X), { code: "ERR_DISPOSED" });
  await t.rejects(module.to({ dtype: "float64" }), { code: "ERR_DISPOSED" });
  t.throws(() => module.dtype, { code: "ERR_DISPOSED" });
});

t.test("files are named by URLs too, moves by names, and a signal ends loading and moving", async (t) => {
  using module = await ScriptModule.define(NET, WEIGHTS);
  const url = pathToFileURL(join(t.testdir({}), "net.pt"));
  await module.save(url);
  using loaded = await ScriptModule.load(url, { trusted: true });
  await loaded.to("float64");
  t.equal(loaded.dtype, "float64");
  await loaded.to("cpu", { dtype: "bfloat16" });
  t.equal(loaded.dtype, "bfloat16");
  await t.rejects(loaded.to("float65" as never), { code: "ERR_INVALID_ARGUMENT" });

  const controller = new AbortController();
  const moving = loaded.to({ dtype: "float32", signal: controller.signal });
  const loading = ScriptModule.load(url, { trusted: true, signal: controller.signal });
  controller.abort();
  await t.rejects(moving, { code: "ERR_ABORTED" });
  await t.rejects(loading, { code: "ERR_ABORTED" });
  t.equal(loaded.dtype, "bfloat16", "it stays as it was");
  await loaded.to("float32");
  t.equal(loaded.dtype, "float32", "the move that was given up holds nothing back");
  await t.rejects(ScriptModule.load(url, { trusted: true, signal: controller.signal }), { code: "ERR_ABORTED" });
});

t.test("save ends with its signal, and leaves what was there", async (t) => {
  using module = await ScriptModule.define(
    { name: "Net", source: "def forward(self, x):\n    return x", parameters: [], children: [] },
    new Map(),
  );
  const folder = t.testdir({});
  const path = join(folder, "net.pt");
  await t.rejects(module.save(path, { signal: AbortSignal.abort("before") }), { name: "AbortError", cause: "before" });
  const controller = new AbortController();
  const saving = module.save(path, { signal: controller.signal });
  controller.abort("meanwhile");
  await t.rejects(saving, { name: "AbortError", cause: "meanwhile" });
  t.strictSame(readdirSync(folder), []);
  await module.save(path, { signal: new AbortController().signal });
  t.strictSame(readdirSync(folder), ["net.pt"]);
  await t.rejects(module.save(path, { signal: 5 as never }), { code: "ERR_INVALID_ARGUMENT", message: /for signal/ });
});
