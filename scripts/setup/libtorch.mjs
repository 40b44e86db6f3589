import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { runCommand, SetupError } from "./command.mjs";
import { inProject, libTorchRecord, privateLibTorchFolder } from "./paths.mjs";
import { findPython, whyNotLoadable } from "./python.mjs";

/** What is installed where nothing is found, and what everything is tested against. */
export const LIBTORCH_VERSION = JSON.parse(readFileSync(inProject("package.json"), "utf8")).config.libtorch;
/** What the addon is built against; LibTorch's C++ interface changes with every minor version. */
const MINOR_VERSION = LIBTORCH_VERSION.split(".", 2).join(".");
const VARIABLE = "LATENT_DIFFUSION_LIBTORCH";

/** PyTorch's own index of CPU builds. Who cannot reach it should not wait long. */
const CPU_INDEX = ["--index-url", "https://download.pytorch.org/whl/cpu", "--retries", "0", "--timeout", "10"];
const PIP_OPTIONS = ["--no-compile", "--disable-pip-version-check", "--root-user-action", "ignore"];

const ADVICE =
  `Install one with \`python3 -m pip install torch==${LIBTORCH_VERSION}\` (or unpack a LibTorch ${LIBTORCH_VERSION} from pytorch.org), ` +
  `set ${VARIABLE} to the folder that holds its include/ and lib/, and run the command again.`;

/**
 * @typedef {object} LibTorch
 * @property {string} path the folder that holds include/ and lib/
 * @property {string} version such as "2.13.0+cpu"
 * @property {"environment" | "python" | "private"} source how it was found
 */

/**
 * Find a LibTorch, or install one under the project, and record the choice for the run time.
 * @param {(doing: string) => void} say
 * @param {(text: string) => void} note told of each candidate that is passed over
 * @returns {Promise<{ result: string, value: LibTorch }>}
 */
export async function ensureLibTorch(say, note) {
  const recorded = readRecord();
  if (recorded) return { result: describe(recorded), value: recorded };
  const chosen = fromEnvironment() ?? (await fromPython(say, note)) ?? (await fromPrivateFolder(say));
  mkdirSync(dirname(libTorchRecord), { recursive: true });
  writeFileSync(libTorchRecord, `${JSON.stringify(chosen, null, 2)}\n`);
  return { result: describe(chosen), value: chosen };
}

function describe({ version, path, source }) {
  const origin = { environment: `from ${VARIABLE}`, python: "of the Python on the PATH", private: "installed here" }[
    source
  ];
  return `LibTorch ${version}, ${origin}: ${path}`;
}

/** The choice of an earlier run, as long as it is still there and the environment variable does not say otherwise. */
function readRecord() {
  if (!existsSync(libTorchRecord)) return undefined;
  const recorded = parseRecord(readFileSync(libTorchRecord, "utf8"));
  if (typeof recorded?.path !== "string") return undefined;
  const wanted = process.env[VARIABLE];
  const stands = versionOf(recorded.path) === recorded.version && (!wanted || resolve(wanted) === recorded.path);
  return stands ? recorded : undefined;
}

/** A record that is damaged is none: what it said is found again. */
function parseRecord(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function fromEnvironment() {
  const value = process.env[VARIABLE];
  if (!value) return undefined;
  const path = resolve(value);
  const reason = whyRefused(path);
  if (reason)
    throw new SetupError(
      `${VARIABLE}=${value} is of no use: ${reason}`,
      `Unset it to let setup find or install one. Or: ${ADVICE}`,
    );
  return { path, version: versionOf(path), source: "environment" };
}

async function fromPython(say, note) {
  say("looking for a torch of the Python on the PATH");
  const python = await findPython();
  if (!python?.torch) return undefined;
  const { path } = python.torch;
  const reason = whyRefused(path) ?? (await whyNotLoadable(python.executable, path));
  if (reason) {
    note(`passing over ${path}: ${reason}`);
    return undefined;
  }
  return { path, version: versionOf(path), source: "python" };
}

async function fromPrivateFolder(say) {
  const path = join(privateLibTorchFolder, "torch");
  const python = await findPython();
  if (!python?.pip) {
    const what = python ? `Python ${python.version} has no pip` : "no Python was found on the PATH";
    throw new SetupError(`There is no LibTorch, and ${what} to install it with`, ADVICE);
  }
  if (whyRefused(path) || (await whyNotLoadable(python.executable, path))) await install(python, say);
  return { path, version: versionOf(path), source: "private" };
}

/**
 * Install torch's wheel alone, without the packages that it needs: from PyTorch's index of CPU builds and no other, since pip takes the
 * highest version of all its indexes and links, and on Linux x86-64 plain PyPI gives a CUDA build of several GB; else from wherever pip is
 * configured to look.
 * @param {readonly string[]} pip `python -m pip install`, and where to
 * @param {string} requirement `"torch==2.13.0"`
 * @param {{ log: string, advice: string }} options as {@link runCommand}'s
 * @throws {SetupError} if neither gives it
 */
export async function installTorch(pip, requirement, options) {
  const command = [...pip, ...PIP_OPTIONS, "--no-deps", requirement];
  try {
    await runCommand([...command, ...CPU_INDEX], {
      ...options,
      log: `${options.log}-cpu-index`,
      env: withoutPipSettings(),
    });
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    await runCommand(command, options);
  }
}

/** An environment in which pip knows no index but the command line's. */
function withoutPipSettings() {
  const places = ["PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"];
  const kept = Object.entries(process.env).filter(([name]) => !places.includes(name));
  return { ...Object.fromEntries(kept), PIP_CONFIG_FILE: process.platform === "win32" ? "nul" : "/dev/null" };
}

/** Install torch's wheel, which is a LibTorch, beside its final place and move it there when it is known to load. */
async function install(python, say) {
  const partial = `${privateLibTorchFolder}.partial`;
  const torch = join(partial, "torch");
  const pip = [python.executable, "-m", "pip", "install", "--target", partial];
  const requirement = `torch==${LIBTORCH_VERSION}`;
  const options = {
    log: "libtorch",
    advice: `torch ${LIBTORCH_VERSION} has wheels for Python 3.10 to 3.14; here is ${python.version}. ${ADVICE}`,
  };
  rmSync(partial, { recursive: true, force: true });
  say(
    `installing torch ${LIBTORCH_VERSION} by pip under .local/ (its libraries serve as LibTorch; no Python is used at run time)`,
  );
  await installTorch(pip, requirement, options);
  let reason = await whyNotLoadable(python.executable, torch);
  if (reason) {
    say(`pip gave a CUDA build, which needs NVIDIA's libraries: installing those too, several GB (${reason})`);
    rmSync(partial, { recursive: true, force: true });
    await runCommand([...pip, ...PIP_OPTIONS, requirement], options);
    reason = await whyNotLoadable(python.executable, torch);
  }
  reason ??= whyRefused(torch);
  if (reason) throw new SetupError(`The torch that pip installed is of no use: ${reason}`, ADVICE);
  rmSync(privateLibTorchFolder, { recursive: true, force: true });
  renameSync(partial, privateLibTorchFolder);
}

/** @returns {string | undefined} why a folder cannot be built against */
function whyRefused(path) {
  if (!existsSync(join(path, "include/ATen/ATen.h"))) return `${path} holds no include/ATen/ATen.h`;
  const version = versionOf(path);
  if (version === undefined) return `${path} does not tell its version`;
  return version.startsWith(`${MINOR_VERSION}.`)
    ? undefined
    : `it is version ${version}, and ${MINOR_VERSION} is needed`;
}

/**
 * Read a LibTorch's version without opening it: a wheel's version.py, or the build-version of a LibTorch archive.
 * @param {string} path the folder that holds include/ and lib/
 * @returns {string | undefined}
 */
export function versionOf(path) {
  const wheel = join(path, "version.py");
  if (existsSync(wheel)) return /^__version__ = '([^']+)'/m.exec(readFileSync(wheel, "utf8"))?.[1];
  const archive = join(path, "build-version");
  return existsSync(archive) ? readFileSync(archive, "utf8").trim() : undefined;
}
