import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import sharp from "sharp";
import t, { type Test } from "tap";

// Each example runs as a reader would run it: a process of its own, on the built package, with the demo checkpoint.
const ROOT = resolve(__dirname, "..", "..");
const CHECKPOINT = join("models", "demo");

const needs = [join("dist", "index.js"), join(CHECKPOINT, "model_index.json")].filter(
  (path) => !existsSync(join(ROOT, path)),
);
const skip = needs.length > 0 ? `needs ${needs.join(" and ")}: npm run setup` : false;

function start(
  t: Test,
  name: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): ChildProcess & { output: () => string } {
  const child = spawn(process.execPath, [join("examples", name), ...args], {
    cwd: ROOT,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.teardown(() => child.kill());
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  return Object.assign(child, { output: () => output });
}

async function run(t: Test, name: string, ...args: string[]): Promise<string> {
  const child = start(t, name, args);
  const [code] = (await once(child, "close")) as [number | null];
  t.equal(code, 0, `${name} ends well: ${child.output()}`);
  return child.output();
}

async function sizeOf(path: string): Promise<[number, number]> {
  const { width, height } = await sharp(path).metadata();
  return [width, height];
}

const tested = new Set<string>();

function example(name: string, body: (t: Test, folder: string) => Promise<void>): void {
  tested.add(name);
  t.test(name, { skip }, (t) => body(t, t.testdir({})));
}

example("generate.mjs", async (t, folder) => {
  const output = await run(t, "generate.mjs", CHECKPOINT, join(folder, "grid.png"));
  t.match(output, /step 20 of 20\n/);
  const [width, height] = await sizeOf(join(folder, "grid.png"));
  t.ok(width === height && width > 2, `a grid of 2 x 2: ${width} x ${height}`);
});

example("stream.mjs", async (t, folder) => {
  const output = await run(t, "stream.mjs", CHECKPOINT, folder);
  t.match(output, /step 1 of 20\n.*step 20 of 20\ndone\n$/s);
  t.strictSame(readdirSync(folder).sort(), ["picture.png", "step-10.png", "step-15.png", "step-20.png", "step-5.png"]);
  const [[small], [large]] = [await sizeOf(join(folder, "step-20.png")), await sizeOf(join(folder, "picture.png"))];
  t.ok(small < large, `a preview of ${small}, a picture of ${large}`);
});

example("unrolled.mjs", async (t, folder) => {
  const output = await run(t, "unrolled.mjs", CHECKPOINT, join(folder, "own.png"));
  const [width, height] = await sizeOf(join(folder, "own.png"));
  t.match(output, `${width} x ${height}`);
});

example("abort.mjs", async (t) => {
  t.equal(await run(t, "abort.mjs", CHECKPOINT), "AbortError: three steps are enough\n");
});

example("swap-weights.mjs", async (t, folder) => {
  t.match(await run(t, "swap-weights.mjs", CHECKPOINT, join(folder, "both.png")), /still in use: true\n$/);
  const [width, height] = await sizeOf(join(folder, "both.png"));
  t.equal(width, 2 * height, "two pictures side by side");
});

example("serve.mjs", async (t) => {
  const server = start(t, "serve.mjs", [CHECKPOINT], { PORT: "0" });
  const url = await new Promise<string>((found, fail) => {
    server.stdout?.on("data", () => {
      const match = /http:\S+/.exec(server.output());
      if (match) found(match[0]);
    });
    server.on("close", () => {
      fail(new Error(server.output()));
    });
  });
  const response = await fetch(url);
  t.equal(response.headers.get("content-type"), "image/png");
  t.equal((await sharp(await response.arrayBuffer()).metadata()).format, "png");
  const refused = await fetch(url.replace("seed=7", "seed=half"));
  t.equal(refused.status, 400);
  t.match(await refused.text(), /for seed but received NaN/);
});

t.test("every example is tested here", (t) => {
  const found = readdirSync(join(ROOT, "examples")).filter((name) => name.endsWith(".mjs"));
  t.strictSame([...tested].sort(), found.sort());
  t.end();
});
