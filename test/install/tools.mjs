import { cpSync, existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { runCommand } from "../../scripts/setup/command.mjs";
import { inProject } from "../../scripts/setup/paths.mjs";

const FOLDER = inProject(".local/install-tools");
const ADVICE = "Check that npm reaches its registry (`npm ping`), then run the command again.";

/**
 * Find npm's program file: the npm that runs us, else the one beside node.
 * @param {"npm" | "npx"} name
 * @returns {string}
 */
export function npmProgram(name) {
  const running = process.env.npm_execpath;
  if (running?.endsWith("npm-cli.js")) return join(dirname(running), `${name}-cli.js`);
  const beside = process.platform === "win32" ? "." : "../lib";
  return join(dirname(process.execPath), beside, "node_modules/npm/bin", `${name}-cli.js`);
}

/**
 * Install the tools of tools/package.json, unless they are there.
 * @param {boolean} all whether the package managers and run times are needed too, not only the registry
 */
export async function ensureTools(all) {
  const wanted = inProject("test/install/tools/package.json");
  const installed = join(FOLDER, all ? "all" : "registry");
  if (existsSync(installed) && readFileSync(installed, "utf8") === readFileSync(wanted, "utf8")) return;
  rmSync(FOLDER, { recursive: true, force: true });
  mkdirSync(FOLDER, { recursive: true });
  cpSync(wanted, join(FOLDER, "package.json"));
  const omit = all ? [] : ["--omit=optional"];
  await runCommand([process.execPath, npmProgram("npm"), "install", "--ignore-scripts", "--no-package-lock", ...omit], {
    log: "install-tools",
    advice: ADVICE,
    cwd: FOLDER,
  });
  for (const done of all ? ["all", "registry"] : ["registry"]) cpSync(wanted, join(FOLDER, done));
}

/**
 * Find a file of a tool.
 * @param {string} path from the tools' node_modules, such as `"pnpm/bin/pnpm.cjs"`
 * @returns {string}
 */
export function toolFile(path) {
  return join(FOLDER, "node_modules", path);
}
