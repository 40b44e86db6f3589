import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { capture, runCommand, SetupError } from "./command.mjs";
import { installTorch } from "./libtorch.mjs";
import { inProject, referenceFolder } from "./paths.mjs";
import { findPython } from "./python.mjs";

const REQUIREMENTS = inProject("test/parity/requirements.txt");
const ADVICE =
  "The reference needs Python 3.11 or later with venv and pip (on Debian: `apt-get install python3-venv`) and a package index.";

const WHAT_IS_MISSING = `
import importlib.metadata, json, sys
missing = []
for pin in sys.argv[1:]:
    name, version = pin.split("==")
    try:
        installed = importlib.metadata.version(name).split("+")[0]
    except importlib.metadata.PackageNotFoundError:
        installed = None
    if installed != version:
        missing.append(pin)
print(json.dumps(missing))
`;

/**
 * Make the private Python with the pinned diffusers that parity and bench compare with, unless it is complete.
 * @param {(doing: string) => void} say
 * @returns {Promise<{ result: string, value: { python: string, libTorch: string } }>} the interpreter, and the LibTorch in it
 */
export async function ensureReference(say) {
  const windows = process.platform === "win32";
  const python = join(referenceFolder, windows ? "Scripts/python.exe" : "bin/python");
  const pins = readFileSync(REQUIREMENTS, "utf8")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line && !line.startsWith("#"));
  const missing = await findMissing(python, pins);
  if (missing.length > 0) await install(python, pins, say);
  const { stdout } = await capture([
    python,
    "-c",
    "import importlib.util; print(importlib.util.find_spec('torch').submodule_search_locations[0])",
  ]);
  const torch = pins.find((pin) => pin.startsWith("torch=="));
  const diffusers = pins.find((pin) => pin.startsWith("diffusers=="));
  return { result: `Python reference with ${torch} ${diffusers}`, value: { python, libTorch: stdout.trim() } };
}

async function findMissing(python, pins) {
  if (!existsSync(python)) return pins;
  const { code, stdout } = await capture([python, "-c", WHAT_IS_MISSING, ...pins]);
  return code === 0 ? JSON.parse(stdout) : pins;
}

async function install(python, pins, say) {
  const options = { log: "reference", advice: ADVICE };
  const base = await findPython();
  if (!base) throw new SetupError("No Python was found on the PATH", ADVICE);
  if (!existsSync(python)) {
    say("making a private Python environment");
    rmSync(referenceFolder, { recursive: true, force: true });
    await runCommand([base.executable, "-m", "venv", referenceFolder], options);
  }
  const pip = [python, "-m", "pip", "install", "--disable-pip-version-check"];
  say("installing torch for the reference");
  const torch = pins.find((pin) => pin.startsWith("torch=="));
  await installTorch(pip, torch, options);
  say("installing diffusers for the reference");
  // The list is complete: --no-deps keeps pip from bringing what is not pinned.
  await runCommand([...pip, "--no-deps", "--requirement", REQUIREMENTS], options);
}
