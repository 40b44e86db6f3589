import { existsSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import { runCommand } from "./command.mjs";
import { fingerprint, isFresh, remember } from "./fingerprint.mjs";
import { addonFile, inProject } from "./paths.mjs";

/** What one compiler process may take: LibTorch's headers are large. */
const BYTES_PER_COMPILER = 1.5 * 2 ** 30;
const ADVICE =
  "Building needs CMake 3.22 or later and a C++20 compiler (on Debian: `apt-get install cmake g++ ninja-build`; " +
  "on macOS: `xcode-select --install` and CMake; on Windows: Visual Studio 2022 with C++). The full output is in the log named above.";

/**
 * Build the addon with cmake-js, unless it was built from these sources and headers.
 * @param {(doing: string) => void} say
 * @param {import("./libtorch.mjs").LibTorch} libTorch
 * @param {{ force?: boolean }} [options]
 * @returns {Promise<{ result: string }>}
 */
export async function ensureAddon(say, libTorch, { force = false } = {}) {
  // Not the path: one addon serves every build (CPU, CUDA) of one LibTorch version, wherever it lies.
  const [version] = libTorch.version.split("+");
  const hash = fingerprint(
    ["native", "CMakeLists.txt"],
    [version, process.platform, process.arch, readInstalledVersions()],
  );
  if (!force && existsSync(addonFile) && isFresh("addon", hash)) return { result: "built already" };
  say("building the addon");
  const cmakeJs = [process.execPath, inProject("node_modules/cmake-js/bin/cmake-js")];
  const definitions = [`--CDLIBTORCH=${libTorch.path}`, ...windowsDefinitions()];
  forgetOtherLibTorch(libTorch.path);
  await runCommand([...cmakeJs, "configure", ...definitions], { log: "configure", advice: ADVICE });
  const jobs = Math.max(1, Math.min(availableParallelism(), Math.floor(totalmem() / BYTES_PER_COMPILER)));
  await runCommand([...cmakeJs, "build", "--parallel", String(jobs)], {
    log: "build",
    advice: ADVICE,
    onOutput: (text) => showProgress(text, say),
  });
  remember("addon", hash);
  return { result: "addon built" };
}

/** CMake's cache holds the libraries' absolute paths: with another LibTorch, or in a folder that moved, it must go. */
function forgetOtherLibTorch(path) {
  const cache = inProject("build/CMakeCache.txt");
  if (!existsSync(cache)) return;
  const text = readFileSync(cache, "utf8");
  const same =
    text.includes(`LIBTORCH:PATH=${path}\n`) &&
    text.includes(`CMAKE_HOME_DIRECTORY:INTERNAL=${inProject("").replace(/[\\/]$/, "")}\n`);
  if (same) return;
  rmSync(cache);
  rmSync(inProject("build/CMakeFiles"), { recursive: true, force: true });
}

/** LibTorch is built against the shared C run time, and cmake-js asks for the static one. */
function windowsDefinitions() {
  return process.platform === "win32" ? ["--CDCMAKE_MSVC_RUNTIME_LIBRARY=MultiThreadedDLL"] : [];
}

function readInstalledVersions() {
  return ["node-addon-api", "node-api-headers"]
    .map((name) => JSON.parse(readFileSync(inProject(`node_modules/${name}/package.json`), "utf8")).version)
    .join(" ");
}

/** Ninja says [12/34], make says [ 35%]. */
function showProgress(text, say) {
  const progress = /\[\s*(\d+\/\d+|\d+%)\]/.exec(text)?.[1];
  if (progress && process.stdout.isTTY) say(`building the addon, ${progress}`);
}
