import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { PACKAGE_ROOT } from "../../lib/libtorch.js";
import { runProgram } from "./run-program.js";

/** What `npm install` makes where two packages want different versions of this one. */
function copyPackage(folder: string): void {
  cpSync(join(PACKAGE_ROOT, "dist"), join(folder, "dist"), { recursive: true });
  cpSync(join(PACKAGE_ROOT, "build", "libtorch.json"), join(folder, "build", "libtorch.json"));
  mkdirSync(join(folder, "build", "Release"));
  const built = join(PACKAGE_ROOT, "build", "Release");
  for (const name of readdirSync(built).filter((file) => file.endsWith(".node"))) copyFileSync(join(built, name), join(folder, "build", "Release", name));
  copyFileSync(join(PACKAGE_ROOT, "package.json"), join(folder, "package.json"));
  symlinkSync(join(PACKAGE_ROOT, "node_modules"), join(folder, "node_modules"), "junction");
}

t.test("two copies of the package live in one process", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "second-copy-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  copyPackage(folder);
  t.match(await runProgram("two-copies.cjs", folder), { code: 0, signal: null, output: "two copies: true largest difference below 1e-3: true\n" });
});
