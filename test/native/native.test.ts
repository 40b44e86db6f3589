import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import t from "tap";
import { type findLibTorch, PACKAGE_ROOT } from "../../lib/native/libtorch.js";
import { native } from "../../lib/native/open.js";

/** The members that `interface Addon` declares, read from its text: interfaces leave nothing behind at run time. */
function declaredExports(): string[] {
  const source = readFileSync(join(PACKAGE_ROOT, "lib", "native", "contract.ts"), "utf8");
  const body = /export interface Addon \{\n([^]*?)\n\}/.exec(source)?.[1] ?? "";
  return [...body.matchAll(/^ {2}(\w+)\(/gm)].map((match) => match[1] ?? "").sort();
}

t.test("the typed contract names exactly what the addon exports", (t) => {
  // The package `bindings` adds the path that it found.
  t.strictSame(
    Object.keys(native())
      .filter((name) => name !== "path")
      .sort(),
    declaredExports(),
  );
  t.end();
});

/** What the addon may say of arguments that make no sense. */
const REFUSALS = ["ERR_INVALID_ARGUMENT", "ERR_CHECKPOINT_NOT_FOUND", "ERR_IO"];

t.test("every export answers nonsense with a coded error and never with a crash", async (t) => {
  // shutdown ends all work; runtimeInfo and flagCreate take nothing.
  const names = Object.keys(native()).filter(
    (name) => !["path", "shutdown", "runtimeInfo", "flagCreate"].includes(name),
  );
  const nonsense = [
    [],
    [null, null, null, null],
    [{}, {}, {}, {}],
    ["x", "x", "x", "x"],
    [-1, -1, -1, -1],
    [[[]], [[]], [[]], [[]]],
    [new Uint8Array(3), 1n, Symbol.iterator, () => 0],
  ];
  for (const name of names) {
    const call = native()[name as keyof ReturnType<typeof native>] as (...args: unknown[]) => unknown;
    for (const args of nonsense) {
      try {
        await call(...args);
        t.fail(`${name}(${args.map((arg) => typeof arg).join()}) accepted nonsense`);
      } catch (error) {
        const { code, message } = error as { code?: string; message: string };
        // ERR_INTERNAL would say that the addon did not expect the argument.
        t.ok(code !== undefined && REFUSALS.includes(code), `${name}: ${code} ${message}`);
      }
    }
  }
});

t.test("a path with a NUL names no file, rather than the one before it", async (t) => {
  const path = join(t.testdir({ "net.pt": "something" }), "net.pt\0.safetensors");
  const handle = await native().moduleDefine({
    name: "Net",
    source: "def forward(self, x):\n    return x",
    parameters: [],
    children: [],
  });
  const calls = [
    () => native().checkpointOpen(path),
    () => native().checkpointWrite(path, new Uint8Array(1), [], null),
    () => native().moduleLoad(path),
    () => native().moduleSave(handle, [], path, null),
  ];
  for (const call of calls) t.throws(call, { code: "ERR_INVALID_ARGUMENT", message: /NUL/ });
});

t.test("a damaged record of setup is a candidate that is refused", (t) => {
  const folder = t.testdir({});
  cpSync(join(PACKAGE_ROOT, "dist"), join(folder, "dist"), { recursive: true });
  mkdirSync(join(folder, "build"));
  const named = process.env.LATENT_DIFFUSION_LIBTORCH;
  delete process.env.LATENT_DIFFUSION_LIBTORCH;
  t.teardown(() => {
    if (named !== undefined) process.env.LATENT_DIFFUSION_LIBTORCH = named;
  });
  const copy = createRequire(__filename)(join(folder, "dist", "native", "libtorch.js")) as {
    findLibTorch: typeof findLibTorch;
  };
  for (const text of ["{", "[]", "7", '{"path": 1}']) {
    writeFileSync(join(folder, "build", "libtorch.json"), text);
    t.throws(
      () => copy.findLibTorch(undefined),
      { code: "ERR_LIBTORCH_NOT_FOUND", message: /libtorch\.json: it is damaged/ },
      text,
    );
  }
  t.throws(
    () => copy.findLibTorch("/nowhere"),
    { code: "ERR_LIBTORCH_NOT_FOUND", message: /nowhere: it holds no lib/ },
    "who names one does not need it",
  );
  t.end();
});
