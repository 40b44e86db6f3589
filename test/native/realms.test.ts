import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createContext, runInContext } from "node:vm";
import t from "tap";
import { PACKAGE_ROOT } from "../../lib/native/packages.js";
import type * as errors from "../../lib/errors.js";
import type * as calls from "../../lib/native/calls.js";
import type * as libtorch from "../../lib/native/libtorch.js";
import type * as latentDiffusion from "../../lib/index.js";

const requireFile = createRequire(__filename);
const DIST = join(PACKAGE_ROOT, "dist");

/** Load the package again, as `jest.resetModules()` does. */
function load(): typeof latentDiffusion {
  for (const file of Object.keys(requireFile.cache)) {
    if (file.startsWith(DIST)) Reflect.deleteProperty(requireFile.cache, file);
  }
  return requireFile(join(DIST, "index.js")) as typeof latentDiffusion;
}

const realm = createContext({});
const foreign = <T>(code: string): T => runInContext(code, realm) as T;

t.test("typed arrays of another realm are taken", (t) => {
  const { Generator, Image, Tensor } = load();
  for (const [type, dtype] of [
    ["Float32Array", "float32"],
    ["Float64Array", "float64"],
    ["Int32Array", "int32"],
    ["Int16Array", "int16"],
    ["Int8Array", "int8"],
    ["Uint8Array", "uint8"],
  ] as const) {
    const tensor = Tensor.from(foreign<Float32Array>(`new ${type}([1, 2, 3])`));
    t.equal(tensor.dtype, dtype);
    t.same([...tensor.dataSync()], [1, 2, 3]);
  }
  t.same([...Tensor.from(foreign<BigInt64Array>("new BigInt64Array([5n])")).dataSync()], [5n]);
  const shared = foreign<Float32Array>("new Float32Array(new SharedArrayBuffer(8)).fill(7)");
  t.same([...Tensor.from(shared).dataSync()], [7, 7]);
  for (const type of ["Uint8Array", "Uint8ClampedArray"])
    t.same([...Image.from(foreign<Uint8Array>(`new ${type}([1, 2, 3])`), { width: 1, height: 1 }).data], [1, 2, 3]);

  const generator = Generator.fromSeed(3);
  const { from } = foreign<{ from: (bytes: Uint8Array) => Uint8Array }>("({ from: (b) => Uint8Array.from(b) })");
  const copy = Generator.fromSeed(4).setState(from(generator.getState()));
  t.same(copy.randn([4]).dataSync(), generator.randn([4]).dataSync());
  t.throws(() => Tensor.from(foreign<Float32Array>("({ length: 1, 0: 1 })")), { code: "ERR_INVALID_ARGUMENT" });
  t.end();
});

t.test("objects of one copy are taken by another copy of the same version", async (t) => {
  const one = load();
  const two = load();
  t.not(one.Tensor, two.Tensor, "two copies");
  const tensor = one.Tensor.from([1, 2]);
  t.ok(tensor instanceof two.Tensor);
  t.notOk({} instanceof two.Tensor);
  t.notOk((null as unknown as object) instanceof two.Tensor);
  t.same([...two.op("add.Scalar", tensor, 1).dataSync()], [2, 3]);
  t.ok(one.Generator.fromSeed(0) instanceof two.Generator);
  const noise = await two.Generator.draw(one.Generator.fromSeed(5), "randn", [3]);
  t.same(noise.dataSync(), one.Generator.fromSeed(5).randn([3]).dataSync());
  tensor.dispose();
  t.throws(() => two.op("add.Scalar", tensor, 1), { code: "ERR_DISPOSED" });
  t.throws(() => two.op("cat", [JSON.parse("{}") as latentDiffusion.Tensor]), { code: "ERR_INVALID_ARGUMENT" });
});

t.test("a subclass means its own objects", (t) => {
  const { Tensor } = load();
  class Own extends (Tensor as unknown as new () => object) {}
  t.notOk(Tensor.from([1]) instanceof Own);
  t.end();
});

t.test("however often it is loaded, the process has one listener for its exit", (t) => {
  load().Tensor.from([1]);
  const before = process.listenerCount("exit");
  for (let i = 0; i < 12; i++) load().Tensor.from([1]);
  t.equal(process.listenerCount("exit"), before);
  t.end();
});

t.test("many waits share one listener of a signal, and each of them ends", async (t) => {
  const { abortable, AbortError } = requireFile(join(DIST, "errors.js")) as typeof errors;
  const controller = new AbortController();
  let added = 0;
  const add = controller.signal.addEventListener.bind(controller.signal);
  controller.signal.addEventListener = (...args: Parameters<typeof add>) => {
    added++;
    add(...args);
  };
  let stopped = 0;
  const never = new Promise<never>(() => undefined);
  const runs = Array.from({ length: 12 }, () => abortable(never, controller.signal, () => stopped++));
  t.equal(added, 1);
  controller.abort("enough");
  for (const result of await Promise.allSettled(runs)) {
    t.equal(result.status, "rejected");
    if (result.status === "rejected") t.ok(result.reason instanceof AbortError);
  }
  t.equal(stopped, 12);

  const quiet = new AbortController();
  t.equal(await abortable(Promise.resolve(7), quiet.signal, () => t.fail("not aborted")), 7);
  quiet.abort();
});

t.test("a tensor moves by names or by an object", async (t) => {
  const { Tensor } = load();
  const tensor = Tensor.from([1, 2]);
  t.equal((await tensor.to({ dtype: "float16" })).dtype, "float16");
  t.equal((await tensor.to({ device: "cpu", dtype: "int64" })).dtype, "int64");
  t.equal((await tensor.to("bfloat16", "cpu")).dtype, "bfloat16");
  t.equal(await tensor.to({}), tensor);
  await t.rejects(tensor.to({ dtyp: "float16" } as object), { code: "ERR_INVALID_ARGUMENT" });
  await t.rejects(tensor.to({ dtype: "cpu" as "float16" }), { code: "ERR_INVALID_ARGUMENT" });
});

t.test("each place where LibTorch is looked for has a verdict", (t) => {
  const { libTorchCandidates } = requireFile(join(DIST, "native", "libtorch.js")) as typeof libtorch;
  const all = libTorchCandidates();
  t.strictSame(
    all.map(({ source }) => source),
    [
      "configure({ libtorch })",
      "the environment variable LATENT_DIFFUSION_LIBTORCH",
      "the CUDA cache",
      "the npm package",
      "the record of `npm run setup`",
    ],
  );
  t.same(
    all.filter(({ chosen }) => chosen).map(({ verdict }) => verdict),
    ["usable"],
  );
  const [named, ...others] = libTorchCandidates("/nowhere");
  t.match(named, { path: "/nowhere", version: null, verdict: /holds no lib/, chosen: false });
  t.notOk(
    others.some(({ chosen }) => chosen),
    "the next one is not taken in silence",
  );
  const folder = t.testdir({ "version.py": "__version__ = '2.13.1'\n", lib: {} });
  const library = { linux: "libtorch_cpu.so", darwin: "libtorch_cpu.dylib", win32: "torch_cpu.dll" }[
    process.platform as "linux"
  ];
  writeFileSync(join(folder, "lib", library), "");
  t.match(libTorchCandidates(folder)[0], { version: "2.13.1", verdict: /it is version 2\.13\.1/, chosen: false });
  t.end();
});

t.test("errors of the addon that come from another realm become this package's", (t) => {
  const { LatentDiffusionError } = load();
  const { translateNativeError, captureCaller } = requireFile(join(DIST, "native", "calls.js")) as typeof calls;
  const thrown = foreign<Error>('Object.assign(new Error("no room"), { code: "ERR_OUT_OF_MEMORY" })');
  const site = captureCaller(translateNativeError);
  t.notOk(thrown instanceof Error, "it is foreign");
  const error = translateNativeError(thrown, site);
  t.ok(error instanceof LatentDiffusionError);
  t.match(error, { code: "ERR_OUT_OF_MEMORY", message: "no room", stack: /no room\n +at / });
  const other = foreign<Error>('new Error("something else")');
  t.equal(translateNativeError(other, site), other, "what has no code is passed on as it is");
  t.end();
});
