import { existsSync } from "node:fs";
import { join } from "node:path";
import { capture, runCommand, SetupError } from "./command.mjs";
import { inProject } from "./paths.mjs";
import { findPython } from "./python.mjs";

/** Other versions format and warn otherwise, so these are pinned, and the system's own are not used. */
const VERSION = "22.1.8";
const ADVICE =
  "clang-format and clang-tidy come as Python wheels; that needs Python with venv and pip, and a package index.";

/**
 * Install clang-format and clang-tidy into a private Python environment, unless they are there.
 * @param {(doing: string) => void} say
 * @returns {Promise<{ result: string, value: { format: string, tidy: string } }>} the two programs
 */
export async function ensureLintTools(say) {
  const folder = inProject(".local/lint-tools");
  const binaries = join(folder, process.platform === "win32" ? "Scripts" : "bin");
  const value = { format: join(binaries, "clang-format"), tidy: join(binaries, "clang-tidy") };
  const result = `clang-format and clang-tidy ${VERSION}`;
  const versions = await Promise.all(Object.values(value).map((program) => capture([program, "--version"])));
  if (versions.every(({ output }) => output.includes(VERSION))) return { result, value };
  say(`installing ${result}`);
  const python = await findPython();
  if (!python) throw new SetupError("No Python was found on the PATH", ADVICE);
  const options = { log: "lint-tools", advice: ADVICE };
  await runCommand([python.executable, "-m", "venv", folder], options);
  const own = join(binaries, "python");
  const packages = [`clang-format==${VERSION}`, `clang-tidy==${VERSION}`];
  await runCommand([own, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", ...packages], options);
  if (!Object.values(value).every((program) => existsSync(program) || existsSync(`${program}.exe`)))
    throw new SetupError(`pip installed ${result} without their programs`, ADVICE);
  return { result, value };
}
