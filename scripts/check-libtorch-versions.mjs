// `node scripts/check-libtorch-versions.mjs [version ...]`: builds the addon against each LibTorch and says which ones passed. People build
// against the torch that they have, so the sources must compile with more than the published version. Takes minutes and up to 2 GB for each
// version, so it is no part of the tests or of CI. Nothing that setup made is touched.
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { runMain } from "./setup.mjs";
import { runCommand, SetupError } from "./setup/command.mjs";
import { installTorch, versionOf } from "./setup/libtorch.mjs";
import { inProject } from "./setup/paths.mjs";
import { findPython } from "./setup/python.mjs";
import { Report } from "./setup/report.mjs";

const VERSIONS = ["2.11.0", "2.12.0", "2.13.0", "2.14.0", "2.15.0"];
const folder = inProject(".local/libtorch-versions");

await runMain(async () => {
  const versions = process.argv.length > 2 ? process.argv.slice(2) : VERSIONS;
  const python = await findPython();
  if (!python?.pip) throw new SetupError("There is no Python with pip", "Install Python 3.10 or later with pip.");
  const report = new Report({ verbose: true });
  const passed = [];
  for (const version of versions) {
    const ok = await report.part(version, (say) => checkVersion(version, python.executable, say));
    if (ok) passed.push(version);
  }
  report.write(`# ${passed.length} of ${versions.length} passed: ${passed.join(", ") || "none"}`);
  return passed.length === versions.length ? 0 : 1;
});

/** A version that cannot be had counts as not passed: what was not seen is not claimed. */
async function checkVersion(version, python, say) {
  const target = join(folder, version);
  const libTorch = join(target, "torch");
  try {
    if (versionOf(libTorch) === undefined) {
      say("installing its wheel");
      mkdirSync(folder, { recursive: true });
      rmSync(target, { recursive: true, force: true });
      const options = { log: `libtorch-${version}`, advice: "pip finds no such wheel." };
      await installTorch([python, "-m", "pip", "install", "--target", target], `torch==${version}`, options);
    }
    say("building");
    await build(libTorch, version);
    return { result: `compiles and links (${versionOf(libTorch)})`, value: true };
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    return { result: error.message, failed: true, value: false };
  }
}

/** In a folder of its own: build/ holds what the checkout runs on. */
async function build(libTorch, version) {
  const out = join(folder, `build-${version}`);
  rmSync(out, { recursive: true, force: true });
  const cmakeJs = [process.execPath, inProject("node_modules/cmake-js/bin/cmake-js")];
  const options = [`--CDLIBTORCH=${libTorch}`, "--out", out];
  const log = { log: `build-${version}`, advice: "The log named above says which line does not compile." };
  await runCommand([...cmakeJs, "configure", ...options], log);
  await runCommand([...cmakeJs, "build", ...options, "--parallel", "2"], log);
  const addon = join(out, "Release", "latent_diffusion.node");
  if (!existsSync(addon)) throw new SetupError(`The build made no ${addon}`, "");
}
