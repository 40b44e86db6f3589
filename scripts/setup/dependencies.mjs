import { existsSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { runCommand } from "./command.mjs";
import { inProject } from "./paths.mjs";

/**
 * Install what package-lock.json names, unless it is there.
 * @param {(doing: string) => void} say
 * @returns {Promise<{ result: string }>}
 */
export async function ensureDependencies(say) {
  const missing = findMissing();
  if (missing.length === 0) return { result: "there" };
  say(`installing npm packages (${missing.length} missing)`);
  await runCommand([...npmCommand(), "ci"], {
    log: "npm",
    advice: "Check that npm reaches its registry (`npm ping`), then run the command again.",
  });
  return { result: "npm packages installed" };
}

/** Names of packages that the lock file demands and node_modules lacks or holds in another version. */
function findMissing() {
  const wanted = readPackages("package-lock.json");
  const installed = readPackages("node_modules/.package-lock.json");
  return Object.entries(wanted)
    .filter(([path, { optional, devOptional, peer }]) => path !== "" && !optional && !devOptional && !peer)
    .filter(([path, { version }]) => installed[path]?.version !== version || !existsSync(inProject(path)))
    .map(([path]) => path);
}

/** @returns {Record<string, { version?: string, optional?: boolean, devOptional?: boolean, peer?: boolean }>} */
function readPackages(lockFile) {
  const path = inProject(lockFile);
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")).packages : {};
}

/** npm as a command without a shell: the one that runs us, else the one beside node, else the one on the PATH. */
export function npmCommand() {
  const running = process.env.npm_execpath;
  if (running && basename(running) === "npm-cli.js") return [process.execPath, running];
  return process.platform === "win32" ? ["cmd", "/c", "npm"] : ["npm"];
}
