import { spawn } from "node:child_process";
import { inProject, projectRoot } from "../../scripts/setup/paths.mjs";
import { DIFFUSERS, OURS } from "../participants.mjs";
import { rowsOf } from "../statistics.mjs";

// The same on both sides: a tensor of our own, and one value of it read back.
const PYTHON = "import diffusers, torch; print(torch.tensor([42.0]).tolist()[0])";
const NODE = `const { Tensor } = require(${JSON.stringify(inProject("dist/index.js"))}); console.log(Tensor.from([42]).dataSync()[0])`;

/**
 * Time from the start of a process to its first tensor, the two taking turns.
 * @param {{ python: string, libTorch: string }} reference
 * @returns {Promise<object[]>} one row a participant
 */
export async function runStart({ python, libTorch }, { starts }, note) {
  const env = { ...process.env, LATENT_DIFFUSION_LIBTORCH: libTorch, HF_HUB_OFFLINE: "1" };
  const commands = { [DIFFUSERS]: [python, "-c", PYTHON], [OURS]: [process.execPath, "-e", NODE] };
  // Once unmeasured, so that neither side pays for a cold disk.
  for (const command of Object.values(commands)) await timeToOutput(command, env);
  const rounds = [];
  for (let i = 0; i < starts; i++) {
    note(`start ${i + 1} of ${starts}`);
    const round = {};
    for (const [name, command] of Object.entries(commands)) round[name] = 1000 * (await timeToOutput(command, env));
    rounds.push(round);
  }
  return rowsOf(
    "process start to first tensor",
    "ms",
    Object.keys(commands).map((name) => ({ name, rival: name === DIFFUSERS })),
    rounds,
  );
}

/** @returns {Promise<number>} seconds from spawning to the first line */
function timeToOutput([program, ...args], env) {
  return new Promise((resolve, reject) => {
    const begun = performance.now();
    const child = spawn(program, args, { cwd: projectRoot, env, stdio: ["ignore", "pipe", "pipe"] });
    let seconds;
    let errors = "";
    child.stdout.once("data", () => (seconds = (performance.now() - begun) / 1000));
    child.stderr.on("data", (text) => (errors += text));
    child.on("error", reject);
    child.on("close", () =>
      seconds === undefined ? reject(new Error(`${program} printed nothing:\n${errors}`)) : resolve(seconds),
    );
  });
}
