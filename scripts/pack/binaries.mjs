import { cpSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { capture, runCommand, SetupError } from "../setup/command.mjs";
import { versionOf } from "../setup/libtorch.mjs";
import { inProject } from "../setup/paths.mjs";
import {
  currentPlatform,
  libTorchVersion,
  makeStage,
  makeTarball,
  platforms,
  readTemplate,
  version,
  writeManifest,
} from "./packages.mjs";

/**
 * Pack the addon and the loader that setup has built.
 * @param {string} out the folder for tarballs
 * @returns {Promise<string>} the tarball's path
 */
export async function packAddon(out) {
  const platform = currentPlatform();
  const stage = makeStage(platform);
  for (const name of ["latent_diffusion.node", "libtorch_loader.node"]) {
    cpSync(inProject(`build/Release/${name}`), join(stage, name));
    await strip(join(stage, name));
  }
  finish(stage, "addon", platform, { version });
  cpSync(inProject("LICENSE"), join(stage, "LICENSE"));
  return makeTarball(stage, out);
}

/**
 * Pack the CPU libraries of a LibTorch, their licences and its version.
 * @param {string} out the folder for tarballs
 * @param {string} path the `torch` folder of a wheel
 * @returns {Promise<string>} the tarball's path
 * @throws {SetupError} if it is another version, a CUDA build, or not a wheel
 */
export async function packLibTorch(out, path) {
  const platform = currentPlatform();
  const torchVersion = checkLibTorch(path);
  const stage = makeStage(`libtorch-${platform}`);
  mkdirSync(join(stage, "lib"));
  for (const name of platforms[platform].libraries ?? (await neededLibraries(join(path, "lib")))) {
    const target = join(stage, "lib", name);
    cpSync(join(path, "lib", name), target, { dereference: true });
    await strip(target);
  }
  // What lib/native reads where there is no version.py.
  writeFileSync(join(stage, "build-version"), `${torchVersion}\n`);
  cpSync(licenceFolder(path, torchVersion), join(stage, "licenses"), { recursive: true });
  cpSync(inProject("npm/libtorch/notices"), join(stage, "licenses"), { recursive: true });
  finish(stage, "libtorch", platform, {});
  return makeTarball(stage, out);
}

/**
 * Pack the demo checkpoint.
 * @param {string} out the folder for tarballs
 * @returns {Promise<string>} the tarball's path
 */
export async function packDemo(out) {
  const stage = makeStage("demo");
  cpSync(inProject("models/demo"), stage, { recursive: true });
  writeManifest(stage, { ...JSON.parse(readTemplate("npm/demo/package.json", currentPlatform())), version });
  return makeTarball(stage, out);
}

function finish(stage, template, platform, own) {
  const { os, cpu, libc } = platforms[platform];
  const manifest = JSON.parse(readTemplate(`npm/${template}/package.json`, platform));
  writeManifest(stage, { ...manifest, ...own, os: [os], cpu: [cpu], ...(libc ? { libc: [libc] } : {}) });
  writeFileSync(join(stage, "README.md"), readTemplate(`npm/${template}/README.md`, platform));
}

/** @returns {string} its version; the package is named for one, so another must not get into it */
function checkLibTorch(path) {
  const found = versionOf(path);
  const [wanted] = libTorchVersion.split("-");
  const cuda = readdirSync(join(path, "lib")).some((name) => name.includes("torch_cuda"));
  if (found?.split("+")[0] === wanted && !cuda) return found;
  throw new SetupError(
    `Expected the CPU build of LibTorch ${wanted} but received ${found}${cuda ? ", a CUDA build" : ""}: ${path}`,
    `Install PyTorch's CPU wheel and name its torch folder in LATENT_DIFFUSION_LIBTORCH, then run \`npm run setup\`.`,
  );
}

function licenceFolder(path, torchVersion) {
  const folder = join(dirname(path), `torch-${torchVersion}.dist-info`, "licenses");
  if (existsSync(folder)) return folder;
  throw new SetupError(
    `There are no licences beside ${path}: ${folder} is missing`,
    "A LibTorch package needs the licences of PyTorch's wheel: use a LibTorch that pip installed.",
  );
}

/**
 * Find what libtorch_cpu.so needs of its own folder, and check that it is looked for there.
 * @param {string} folder
 * @returns {Promise<string[]>} file names
 */
async function neededLibraries(folder) {
  const found = ["libtorch_cpu.so"];
  for (const name of found) {
    const section = await runCommand(["readelf", "--dynamic", "--wide", join(folder, name)], {
      log: "readelf",
      advice: "Packing on Linux needs binutils (`apt-get install binutils`).",
    });
    const needed = [...section.matchAll(/\(NEEDED\).*\[(.+)\]/g)].map(([, library]) => library);
    const own = needed.filter((library) => existsSync(join(folder, library)));
    const runPath = /\((?:RUNPATH|RPATH)\).*\[(.+)\]/.exec(section)?.[1];
    if (own.length > 0 && runPath?.split(":").includes("$ORIGIN") !== true) {
      throw new SetupError(
        `${name} needs ${own.join(", ")} and its run path is ${runPath ?? "not set"}, not $ORIGIN`,
        `Set it: patchelf --set-rpath '$ORIGIN' ${join(folder, name)}`,
      );
    }
    found.push(...own.filter((library) => !found.includes(library)));
  }
  return found;
}

/** Remove the symbols that only linkers and debuggers read. macOS would have to sign the file again; Windows keeps them elsewhere. */
async function strip(file) {
  if (process.platform !== "linux") return;
  const { code, output } = await capture(["strip", "--strip-unneeded", file]);
  if (code !== 0) throw new SetupError(`strip failed (${code}): ${output}`, "Packing on Linux needs binutils.");
}
