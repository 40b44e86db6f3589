import { pathToFileURL } from "node:url";
import { inspect } from "node:util";
import { runInNewContext } from "node:vm";
import t from "tap";
import { DDIMScheduler, LDMPipeline, makeGrid, Image, Tensor, UNet2DModel, VQModel } from "../../lib/index.js";
import { copyJson } from "../../lib/files/json.js";
import {
  checkArray,
  checkInteger,
  checkOptions,
  checkPath,
  checkPlainObject,
  checkSignal,
  describe,
} from "../../lib/validate.js";

const INVALID = { name: "TypeError", code: "ERR_INVALID_ARGUMENT" };

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

const thrower = (): never => {
  throw new Error("a getter of the caller's");
};

t.test("describe never throws and stays short", (t) => {
  const named = (): void => undefined;
  Object.defineProperty(named, "name", { get: thrower });
  const hostile: unknown[] = [
    revoked(),
    Proxy.revocable(() => undefined, {}).proxy,
    Object.defineProperty({}, "constructor", { get: thrower }),
    { constructor: { name: Symbol("x") } },
    { constructor: null },
    { constructor: 5 },
    named,
    Object.defineProperty(() => undefined, "name", { value: { toString: thrower } }),
    Object.defineProperty(() => undefined, "name", { value: "x".repeat(1e6) }),
    Symbol("x".repeat(1e6)),
    10n ** 5000n,
    -(10n ** 20n),
    "é\u0000\ud800".repeat(1e5),
    new Proxy({}, { getPrototypeOf: thrower, get: thrower, has: thrower, ownKeys: thrower }),
    new Array(2 ** 32 - 1),
    Object.create(null),
    NaN,
    -0,
  ];
  for (const value of hostile) {
    const text = describe(value);
    t.ok(text.length > 0 && text.length <= 500, text.slice(0, 80));
  }
  t.equal(describe(revoked()), "an object that cannot be read");
  t.equal(describe(new Map()), "an instance of Map");
  t.equal(describe(5), "5 of type number");
  t.end();
});

t.test("options are plain objects of any realm", (t) => {
  const known = ["a"];
  const foreign = runInNewContext("({ a: 1 })") as { a: number };
  const bare = Object.assign(Object.create(null) as object, { a: 1 });
  for (const options of [{ a: 1 }, foreign, bare]) t.strictSame({ ...checkOptions(options, known, "f") }, { a: 1 });
  const refused = [
    null,
    [],
    Promise.resolve({ a: 1 }),
    new Map([["a", 1]]),
    new AbortController(),
    Object.create({ a: 1 }) as object,
    Object.create(Object.create(null) as object) as object,
    runInNewContext("Promise.resolve({})") as object,
    runInNewContext("[]") as object,
    () => undefined,
    "a",
    7,
    revoked(),
    Object.defineProperty({}, "a", { get: thrower, enumerable: true }),
  ];
  for (const options of refused)
    t.throws(() => checkOptions(options as object, known, "f"), INVALID, describe(options));
  t.throws(() => checkOptions(Promise.resolve({}), known, "f"), { message: /was an await forgotten\?/ });
  t.throws(() => checkOptions({ ["b".repeat(1e6)]: 1 }, known, "f"), { message: /Unknown option "b{57}\.\.\." for f/ });
  t.end();
});

t.test("what is inherited is not read, whoever polluted the prototype", (t) => {
  const prototype = Object.prototype as { batchSize?: unknown };
  prototype.batchSize = 1e9;
  try {
    t.equal(checkOptions<{ batchSize?: number }>({}, ["batchSize"], "f").batchSize, undefined);
  } finally {
    delete prototype.batchSize;
  }
  t.end();
});

t.test("each property and element is read once", (t) => {
  let reads = 0;
  const copy = checkPlainObject(
    {
      get a() {
        return ++reads;
      },
    },
    "an object",
    "f",
  );
  t.strictSame([copy.a, copy.a, reads], [1, 1, 1]);
  class Growing extends Array<number> {}
  const growing = Growing.from([1, 2, 3]);
  Object.defineProperty(growing, 0, { get: () => growing.push(9) });
  t.strictSame(
    checkArray(growing, "an array", "a", (value, i) => checkInteger(value, `a[${i}]`, 0)),
    [4, 2, 3],
    "the length is the one it had at first",
  );
  t.throws(() => checkArray(new Array(2 ** 32 - 1), "an array", "a", (value) => value), INVALID);
  t.throws(() => checkArray(new Proxy([1], { get: thrower }), "an array", "a", (value) => value), INVALID);
  t.end();
});

t.test("a path is a string or a file: URL of any realm", (t) => {
  const url = pathToFileURL("/a b");
  t.equal(checkPath("x", "path"), "x");
  t.equal(checkPath(url, "path"), "/a b");
  t.equal(checkPath({ href: url.href, protocol: "file:" }, "path"), "/a b");
  for (const value of [
    "",
    "a\0b",
    new URL("https://example.com/a"),
    new URL("file:///a%00b"),
    new URL("file:///a%2Fb"),
    {},
    null,
    undefined,
    5,
    Symbol("a"),
    revoked(),
    Promise.resolve("x"),
    ["x"],
  ])
    t.throws(() => checkPath(value, "path"), INVALID, describe(value));
  t.end();
});

t.test("a signal is known by its shape", (t) => {
  const { signal } = new AbortController();
  t.equal(checkSignal(signal, "signal"), signal);
  t.equal(checkSignal(undefined, "signal"), undefined);
  class OtherRealmSignal extends EventTarget {
    aborted = false;
  }
  t.ok(checkSignal(new OtherRealmSignal(), "signal"));
  for (const value of [null, {}, { aborted: false }, "signal", 1, revoked(), new AbortController(), Symbol("s")])
    t.throws(() => checkSignal(value, "signal"), INVALID, describe(value));
  t.end();
});

t.test("JSON of a caller is copied, or refused by its place", (t) => {
  t.strictSame(copyJson({ a: [1, { b: null }], c: "x", d: true }, "f"), { a: [1, { b: null }], c: "x", d: true });
  const cycle: Record<string, unknown> = {};
  cycle.inner = [cycle];
  let deep: unknown = 1;
  for (let i = 0; i < 100_000; i++) deep = [deep];
  for (const value of [cycle, deep, { a: () => 1 }, { a: 1n }, { a: Symbol("a") }, new Date(), { a: undefined }])
    t.throws(() => copyJson(value, "key"), INVALID, describe(value));
  t.throws(() => copyJson({ a: [0, { b: new Map() }] }, "key"), {
    message: /for key\.a\[1\]\.b but received an instance of Map/,
  });
  t.end();
});

t.test("typed errors from the public face, each at once", async (t) => {
  const cycle: Record<string, unknown> = { _class_name: "UNet2DModel" };
  cycle.self = cycle;
  let deep: unknown = {};
  for (let i = 0; i < 10_000; i++) deep = { deep };
  for (const config of [cycle, { _class_name: "UNet2DModel", f: () => 1 }, { _class_name: "UNet2DModel", deep }]) {
    await t.rejects(UNet2DModel.fromConfig(config as never), INVALID);
  }
  for (const config of [Promise.resolve({}), new Map(), [], null, 5, revoked()]) {
    await t.rejects(UNet2DModel.fromConfig(config as never), INVALID);
    await t.rejects(VQModel.fromConfig(config as never), INVALID);
  }
  for (const model of [UNet2DModel, VQModel]) {
    const Constructor = model as unknown as new (parts: unknown) => object;
    for (const parts of [null, undefined, {}, { module: {} }]) t.throws(() => new Constructor(parts), INVALID);
  }
  t.throws(() => new DDIMScheduler(Promise.resolve({}) as never), INVALID);
  t.throws(() => new LDMPipeline(Promise.resolve({}) as never), INVALID);
  const sparse = new Array<number>(2 ** 32 - 1);
  t.throws(() => Tensor.from(sparse), INVALID);
  t.throws(() => Tensor.from(new Float32Array(1), sparse), INVALID);
  t.throws(() => Tensor.from(new Float32Array(1), new Array<number>(10_000).fill(1)), { message: /at most 64/ });
  const image = Image.from(new Uint8Array(3), { width: 1, height: 1 });
  for (const options of [{ columns: 2 ** 53 - 1 }, { columns: 2 ** 31 }, { gap: 2 ** 53 - 1, columns: 2 }])
    t.throws(() => makeGrid([image], options), INVALID);
  t.end();
});

t.test("no message is longer than 2,000 characters", (t) => {
  try {
    checkOptions(
      { x: 1 },
      Array.from({ length: 1000 }, (_, i) => `option${i}`),
      "f",
    );
    t.fail("it was taken");
  } catch (error) {
    const { message } = error as Error;
    t.ok(message.length <= 2000, String(message.length));
    t.match(message, /^Unknown option "x" for f/);
  }
  t.end();
});

t.test("a tensor of any number of dimensions prints in a line", (t) => {
  const tensor = Tensor.from([1], new Array<number>(64).fill(1));
  t.match(inspect(tensor), /^Tensor\(\[1, 1/);
  t.end();
});
