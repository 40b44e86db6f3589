import { capture, SetupError } from "./command.mjs";
import { fingerprint, isFresh, remember } from "./fingerprint.mjs";
import { addonFile, inProject } from "./paths.mjs";

const FIRST_TENSOR = `
const { runtimeInfo, Tensor } = require(process.argv[1]);
const [value] = Tensor.from(Float32Array.of(42)).dataSync();
if (value !== 42) throw new Error("The first tensor holds " + value + " where 42 was put");
const { libtorch, cpuCapability } = runtimeInfo();
console.log(JSON.stringify({ version: libtorch.version, cpuCapability }));
`;

/**
 * Make one tensor in a process of its own, once after anything was built or chosen anew.
 * @param {(doing: string) => void} say
 * @param {import("./libtorch.mjs").LibTorch} libTorch
 * @returns {Promise<{ result: string }>}
 * @throws {SetupError} with what Node said
 */
export async function ensureItWorks(say, libTorch) {
  const hash = fingerprint(
    ["build/addon.sha256", "build/typescript.sha256"],
    [libTorch.path, libTorch.version, process.version],
  );
  if (isFresh("check", hash)) return { result: "checked already" };
  say("making a first tensor");
  const { code, output, stdout } = await capture([process.execPath, "-e", FIRST_TENSOR, inProject("dist/index.js")]);
  if (code !== 0) {
    throw new SetupError(
      `The addon was built and does not work (${code}):\n${output.trim()}`,
      `\`npm run clean\` and another try builds everything anew. The addon is ${addonFile}.`,
    );
  }
  remember("check", hash);
  const { version, cpuCapability } = JSON.parse(stdout);
  return { result: `LibTorch ${version} works (${cpuCapability})` };
}
