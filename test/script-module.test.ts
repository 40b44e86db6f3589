import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import t, { type Test } from "tap";
import { Generator, ScriptModule, Tensor } from "../lib/index.js";
import type { ModuleSpec } from "../lib/native.js";

const LINEAR: ModuleSpec = {
  name: "Linear",
  source: "def forward(self, x):\n    return torch.linear(x, self.weight, self.bias)",
  parameters: [["weight", [4, 3]], ["bias", [4]]],
  children: [],
};

const NET: ModuleSpec = {
  name: "Net",
  source: [
    "def forward(self, x, scale: float = 2.0):",
    "    return torch.mul(getattr(self.layers, \"0\").forward(x), scale)",
    "def pair(self, x, flag: bool, label: Optional[Tensor] = None):",
    "    return x, [x + 1 if flag else x - 1], label is None",
  ].join("\n"),
  parameters: [],
  children: [["layers", { name: "List", source: "def forward(self, x):\n    return x", parameters: [], children: [["0", LINEAR]] }]],
};

const generator = Generator.fromSeed(0);
const WEIGHTS = new Map([["layers.0.weight", generator.randn([4, 3])], ["layers.0.bias", generator.randn([4])]]);
const X = generator.randn([2, 3]);

/** W x + b, by hand. */
function expected(scale: number): number[] {
  const [weight, bias, x] = [...WEIGHTS.values(), X].map((tensor) => Array.from(tensor.dataSync(), Number)) as [number[], number[], number[]];
  return [0, 1].flatMap((row) => [0, 1, 2, 3].map((out) => scale
    * [0, 1, 2].reduce((sum, i) => sum + at(x, 3 * row + i) * at(weight, 3 * out + i), at(bias, out))));
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
    near(t, await values(module, X), expected(2), 1e-6);
    near(t, await values(module, X, 0.5), expected(0.5), 1e-6);
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
  await t.rejects(module.forward(Tensor.from([1, 2])), { code: "ERR_TORCH", message: /^mat1 and mat2|^size mismatch/, cause: { message: /Traceback of TorchScript/ } });
});

t.test("source that does not compile is an error that shows where", async (t) => {
  const broken = { ...LINEAR, source: "def forward(self, x):\n    return self.nothing" };
  await t.rejects(ScriptModule.define(broken, new Map()), { code: "ERR_TORCHSCRIPT_INVALID", message: /nothing/ });
  await t.rejects(ScriptModule.define(NET, new Map()), { code: "ERR_CHECKPOINT_INVALID", message: /layers\.0\.weight/ });
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
    t.strictSame(loaded.info.parameters.map(({ name }) => name), [...WEIGHTS.keys()]);
    t.equal(loaded.weights, null);
    near(t, await values(loaded, X), expected(2), 1e-6);
    await loaded.to({ dtype: "float64" });
    near(t, await values(loaded, await X.to("float64")), expected(2), 1e-6);
  }
});

t.test("files that are none", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "script-module-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "net.pt");
  await t.rejects(ScriptModule.load(path, { trusted: true }), { code: "ERR_CHECKPOINT_NOT_FOUND", message: /net\.pt/ });
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
  const source = "def forward(self, x, rounds: int):\n    for _ in range(rounds):\n        x = torch.tanh(torch.matmul(x, x))\n    return x";
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
  near(t, Array.from(await ((await pending) as Tensor).data(), Number), expected(2), 1e-6);
  t.equal(module.disposed, true);
  t.match(inspect(module), "disposed");
  await t.rejects(module.forward(X), { code: "ERR_DISPOSED" });
  await t.rejects(module.to({ dtype: "float64" }), { code: "ERR_DISPOSED" });
  t.throws(() => module.dtype, { code: "ERR_DISPOSED" });
});
