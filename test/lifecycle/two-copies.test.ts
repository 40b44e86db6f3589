import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { PACKAGE_ROOT } from "../../lib/native/libtorch.js";
import { runProgram } from "./run-program.js";

/** What `npm install` makes where two packages want different versions of this one. */
function copyPackage(folder: string): void {
  cpSync(join(PACKAGE_ROOT, "dist"), join(folder, "dist"), { recursive: true });
  cpSync(join(PACKAGE_ROOT, "build", "libtorch.json"), join(folder, "build", "libtorch.json"));
  mkdirSync(join(folder, "build", "Release"));
  const built = join(PACKAGE_ROOT, "build", "Release");
  for (const name of readdirSync(built).filter((file) => file.endsWith(".node")))
    copyFileSync(join(built, name), join(folder, "build", "Release", name));
  copyFileSync(join(PACKAGE_ROOT, "package.json"), join(folder, "package.json"));
  symlinkSync(join(PACKAGE_ROOT, "node_modules"), join(folder, "node_modules"), "junction");
}

t.test("two copies of the package live in one process", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "second-copy-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  copyPackage(folder);
  t.match(await runProgram("two-copies.cjs", folder), {
    code: 0,
    signal: null,
    output: "two copies: true largest difference below 1e-3: true\n",
  });
});

/** A folder that would pass for a LibTorch until it is opened. */
function pretendLibTorch(folder: string): string {
  mkdirSync(join(folder, "lib"), { recursive: true });
  for (const name of ["libtorch_cpu.so", "libtorch_cpu.dylib", "torch_cpu.dll"])
    writeFileSync(join(folder, "lib", name), "");
  writeFileSync(join(folder, "version.py"), "__version__ = '2.13.0'\n");
  return folder;
}

t.test("a second LibTorch in one process is refused before it is opened", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "two-libtorches-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  copyPackage(join(folder, "copy"));
  const record = JSON.parse(readFileSync(join(PACKAGE_ROOT, "build", "libtorch.json"), "utf8")) as { path: string };
  const same = join(folder, "same");
  symlinkSync(process.env.LATENT_DIFFUSION_LIBTORCH ?? record.path, same, "junction");
  const ending = await runProgram(
    "two-libtorches.cjs",
    join(folder, "copy"),
    pretendLibTorch(join(folder, "other")),
    same,
  );
  t.match(ending, {
    code: 0,
    signal: null,
    output: [
      "copy ERR_INVALID_STATE true",
      "copy has a tensor of 2",
      "worker ERR_INVALID_STATE true",
      "worker has a tensor of 2",
      "worker ERR_INVALID_STATE true",
      "worker has a tensor of 2",
      "main has a tensor of 1",
      "",
    ].join("\n"),
  });
});
