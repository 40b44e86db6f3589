import { copyFileSync, existsSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { runCommand } from "./command.mjs";
import { inProject } from "./paths.mjs";

const REQUIREMENTS = inProject("bench/peers-requirements.txt");
/** A folder for Python's path: the runtimes of the rivals. */
export const peersFolder = inProject(".local/peers");
/** What it was filled from. */
const STAMP = join(peersFolder, "requirements.txt");

/**
 * Install the runtimes that the benchmark compares with into a folder of their own, unless they are there. They run in the
 * reference's Python with that folder on its path, so that all share one torch.
 * @param {(doing: string) => void} say
 * @param {{ python: string }} reference
 * @returns {Promise<{ result: string }>}
 */
export async function ensurePeers(say, { python }) {
  const pins = readFileSync(REQUIREMENTS, "utf8");
  if (!existsSync(STAMP) || readFileSync(STAMP, "utf8") !== pins) {
    say("installing the rivals under .local/ (350 MB)");
    const partial = `${peersFolder}.partial`;
    rmSync(partial, { recursive: true, force: true });
    const command = [
      python,
      "-m",
      "pip",
      "install",
      "--disable-pip-version-check",
      "--no-compile",
      "--no-deps",
      "--target",
      partial,
      "--requirement",
      REQUIREMENTS,
    ];
    await runCommand(command, {
      log: "peers",
      advice: "The rivals need a package index. Without --peers the benchmark needs none of them.",
    });
    rmSync(peersFolder, { recursive: true, force: true });
    renameSync(partial, peersFolder);
    copyFileSync(REQUIREMENTS, STAMP);
  }
  const named = pins.split("\n").filter((line) => /^(onnxruntime|openvino)==/.test(line));
  return { result: `rivals with ${named.join(" ")}` };
}
