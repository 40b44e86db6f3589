import { capture } from "./command.mjs";

const PROBE = `
import importlib.metadata, importlib.util, json, sys
found = {"version": sys.version.split()[0], "executable": sys.executable, "pip": importlib.util.find_spec("pip") is not None}
torch = importlib.util.find_spec("torch")
if torch is not None and torch.submodule_search_locations:
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        version = None
    found["torch"] = {"path": list(torch.submodule_search_locations)[0], "version": version}
print(json.dumps(found))
`;

// In a process of its own, since a library that does not fit can end the process that opens it.
const OPEN_LIBRARY = `
import ctypes, os, sys
folder, name = sys.argv[1:]
if hasattr(os, "add_dll_directory"):
    os.add_dll_directory(folder)
try:
    ctypes.CDLL(os.path.join(folder, name))
except OSError as error:
    sys.exit(str(error))
`;

/**
 * @typedef {object} Python
 * @property {string} executable absolute path
 * @property {string} version such as "3.11.7"
 * @property {boolean} pip whether \`python -m pip\` works
 * @property {{ path: string, version: string | null }} [torch] its package folder, found without importing it
 */

/**
 * Find the Python on the PATH, and a torch that it has.
 * @returns {Promise<Python | undefined>}
 */
export async function findPython() {
  const candidates = process.platform === "win32" ? [["python"], ["py", "-3"]] : [["python3"], ["python"]];
  for (const candidate of candidates) {
    const { code, stdout } = await capture([...candidate, "-c", PROBE]);
    if (code === 0) return JSON.parse(stdout);
  }
  return undefined;
}

/**
 * Try to open a LibTorch's CPU library.
 * @param {string} executable a Python
 * @param {string} libTorch the folder that holds lib/
 * @returns {Promise<string | undefined>} why it does not open; undefined if it does
 */
export async function whyNotLoadable(executable, libTorch) {
  const names = { win32: "torch_cpu.dll", darwin: "libtorch_cpu.dylib" };
  const name = names[process.platform] ?? "libtorch_cpu.so";
  // -I: the current folder and PYTHONPATH must not lend this process modules.
  const { code, output } = await capture([executable, "-I", "-c", OPEN_LIBRARY, `${libTorch}/lib`, name]);
  if (code === 0) return undefined;
  return output.trim().split("\n").at(-1) || `opening it ended with ${code}`;
}
