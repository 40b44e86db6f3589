import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, join } from "node:path";
import t from "tap";
import { PACKAGE_ROOT } from "../../lib/native/libtorch.js";

const MANIFEST = JSON.parse(readFileSync(join(PACKAGE_ROOT, "package.json"), "utf8")) as {
  name: string;
  version: string;
  dependencies: Record<string, string>;
  exports: Record<string, unknown>;
};

/** The project that a user would have: the packed tarball, its dependencies, nothing of the checkout. */
interface Project {
  readonly folder: string;
  readonly packed: string;
}

let project: Project;

t.before(() => {
  const folder = t.testdir({});
  const tarball = pack(folder);
  execFileSync("tar", ["-xzf", basename(tarball)], { cwd: folder });
  const packed = join(folder, "node_modules", MANIFEST.name);
  cpSync(join(folder, "package"), packed, { recursive: true });
  // The dependencies as npm laid them out here: installing them again would need the network.
  for (const name of readdirSync(join(PACKAGE_ROOT, "node_modules"))) {
    if (!name.startsWith("."))
      symlinkSync(join(PACKAGE_ROOT, "node_modules", name), join(folder, "node_modules", name), "junction");
  }
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "user", private: true }));
  project = { folder, packed };
});

/** @returns the tarball's path */
function pack(folder: string): string {
  // Beside node, or as npm tells its scripts; `npm` on the PATH is a shell script that Windows cannot spawn.
  const running = process.env.npm_execpath?.endsWith("npm-cli.js") ? process.env.npm_execpath : undefined;
  const args = ["pack", "--ignore-scripts", "--silent", "--pack-destination", folder];
  const options = { cwd: PACKAGE_ROOT, encoding: "utf8" } as const;
  const output = running
    ? execFileSync(process.execPath, [running, ...args], options)
    : execFileSync("npm", args, options);
  return join(folder, output.trim().split("\n").at(-1) ?? "");
}

function runNode(file: string, source: string, env: NodeJS.ProcessEnv = {}): { status: number | null; output: string } {
  writeFileSync(join(project.folder, file), source);
  // Without what tap puts into NODE_OPTIONS: a user's Node has no loaders.
  const { status, stdout, stderr } = spawnSync(process.execPath, [file], {
    cwd: project.folder,
    encoding: "utf8",
    env: { ...process.env, NODE_OPTIONS: "", ...env },
  });
  return { status, output: `${stdout}${stderr}`.trim() };
}

/** Put the addon where a build from source leaves it. */
function addAddon(): void {
  const target = join(project.packed, "build", "Release");
  if (existsSync(target)) return;
  mkdirSync(target, { recursive: true });
  for (const name of ["latent_diffusion.node", "libtorch_loader.node"]) {
    cpSync(join(PACKAGE_ROOT, "build", "Release", name), join(target, name));
  }
}

function libTorchPath(): string {
  const record = JSON.parse(readFileSync(join(PACKAGE_ROOT, "build", "libtorch.json"), "utf8")) as { path: string };
  return process.env.LATENT_DIFFUSION_LIBTORCH ?? record.path;
}

t.test("the tarball holds what users need and nothing that builds behind their back", (t) => {
  const listFiles = (folder: string, prefix = ""): string[] =>
    readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
      entry.isDirectory() ? listFiles(join(folder, entry.name), `${prefix}${entry.name}/`) : [`${prefix}${entry.name}`],
    );
  const files = listFiles(join(project.folder, "package"));
  for (const name of [
    "package.json",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "dist/index.js",
    "dist/index.d.ts",
    "dist/index.mjs",
    "dist/index.d.mts",
  ]) {
    t.ok(files.includes(name), `${name} is packed`);
  }
  const unwanted = files.filter(
    (name) => !/^(dist\/|docs\/|README\.md|LICENSE|CHANGELOG\.md|package\.json)/.test(name),
  );
  t.strictSame(unwanted, [], "no sources, no tests, no binding.gyp, no machine's binaries");
  t.notOk("install" in ((MANIFEST as { scripts?: object }).scripts ?? {}), "no install script");
  t.end();
});

t.test("publint has nothing to say", async (t) => {
  const { publint } = await import("publint");
  const { messages } = await publint({ pkgDir: project.packed, strict: true });
  t.strictSame(messages, []);
});

t.test("import and require give the same classes", (t) => {
  const { status, output } = runNode(
    "both.mjs",
    `
    import * as imported from "${MANIFEST.name}";
    import { createRequire } from "node:module";
    const required = createRequire(import.meta.url)("${MANIFEST.name}");
    const differing = Object.keys(required).filter((name) => required[name] !== imported[name]);
    console.log(JSON.stringify({ names: Object.keys(required).length, imported: Object.keys(imported).length, differing }));
  `,
  );
  t.equal(status, 0, output);
  const { names, imported, differing } = JSON.parse(output) as { names: number; imported: number; differing: string[] };
  t.strictSame(differing, []);
  t.equal(imported, names);
  t.ok(names > 5, `${names} names`);
  t.end();
});

t.test("without an addon, the first use says what is missing", (t) => {
  const { status, output } = runNode(
    "missing.cjs",
    `
    const { Tensor } = require("${MANIFEST.name}");
    try { Tensor.from([1]); } catch (error) { console.log(error.name, error.code); }
  `,
    { LATENT_DIFFUSION_LIBTORCH: libTorchPath() },
  );
  t.equal(status, 0, output);
  t.equal(output, "LatentDiffusionError ERR_ADDON_NOT_FOUND");
  t.end();
});

t.test("with the addon, tensors cross from one module system to the other", (t) => {
  addAddon();
  const { status, output } = runNode(
    "cross.mjs",
    `
    import { Tensor } from "${MANIFEST.name}";
    import { createRequire } from "node:module";
    const required = createRequire(import.meta.url)("${MANIFEST.name}");
    const sum = required.op("add.Tensor", Tensor.from([1, 2]), required.Tensor.from([3, 4]));
    console.log(sum instanceof Tensor, [...sum.dataSync()].join());
  `,
    { LATENT_DIFFUSION_LIBTORCH: libTorchPath() },
  );
  t.equal(status, 0, output);
  t.equal(output, "true 4,6");
  t.end();
});

t.test("types resolve for import and require, and refuse what is wrong", (t) => {
  const program = `
    const tensor: Tensor = Tensor.from(Float32Array.of(1, 2), [2]);
    const shape: readonly number[] = tensor.shape;
    const error: ErrorCode = "ERR_DISPOSED";
    // @ts-expect-error a dtype that does not exist
    Tensor.from([1], [1], { dtype: "float8" });
    // @ts-expect-error an option that does not exist
    configure({ thread: 2 });
    // @ts-expect-error handles are not part of the face
    tensor.handle;
    export { shape, error };
  `;
  writeFileSync(
    join(project.folder, "esm.mts"),
    `import { configure, type ErrorCode, Tensor } from "${MANIFEST.name}";${program}`,
  );
  writeFileSync(
    join(project.folder, "cjs.cts"),
    `import { configure, type ErrorCode, Tensor } from "${MANIFEST.name}";${program}`,
  );
  const options = [
    "--noEmit",
    "--strict",
    "--module",
    "node16",
    "--target",
    "es2022",
    "--types",
    "node",
    "esm.mts",
    "cjs.cts",
  ];
  const tsc = createRequire(join(PACKAGE_ROOT, "package.json")).resolve("typescript/bin/tsc");
  const { status, stdout } = spawnSync(process.execPath, [tsc, ...options], {
    cwd: project.folder,
    encoding: "utf8",
    env: { ...process.env, NODE_OPTIONS: "" },
  });
  t.equal(stdout, "");
  t.equal(status, 0);
  t.end();
});
