import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { inProject, projectRoot } from "./paths.mjs";

/**
 * Run tap on some files, keep the raw TAP in .local/tap/, and tell its totals.
 * @param {string} name of the run; also of the file
 * @param {readonly string[]} args what tap takes: files and options
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {Promise<{ code: number, passed: number, failed: number, skipped: number }>} assertions, as tap counts them
 */
export async function runTap(name, args, env = process.env) {
  const file = tapFile(name);
  mkdirSync(inProject(".local/tap"), { recursive: true });
  rmSync(file, { force: true });
  const options = [`--output-file=${file}`, ...(process.stdout.isTTY ? [] : ["--reporter=terse"])];
  const command = [inProject("node_modules/tap/dist/esm/run.mjs"), ...options, ...args];
  const code = await new Promise((resolve, reject) => {
    const child = spawn(process.execPath, command, { cwd: projectRoot, env, stdio: "inherit" });
    child.on("error", reject);
    child.on("close", (status) => resolve(status ?? 1));
  });
  return { code, ...readTotals(name) };
}

/**
 * Read the totals of an earlier {@link runTap}.
 * @param {string} name
 * @returns {{ passed: number, failed: number, skipped: number }}
 * @throws {Error} if the run did not come to its end
 */
export function readTotals(name) {
  const text = readFileSync(tapFile(name), "utf8");
  // The last comment of a whole run; a test's own output stands indented before it.
  const line = text.match(/^# \{ total: .*\}$/gm)?.at(-1);
  if (!line) throw new Error(`tap did not finish: ${tapFile(name)} has no totals`);
  const count = (key) => Number(new RegExp(`\\b${key}: (\\d+)`).exec(line)?.[1] ?? 0);
  const totals = { passed: count("pass"), failed: count("fail"), skipped: count("skip") + count("todo") };
  if (totals.passed + totals.failed + totals.skipped !== count("total")) throw new Error(`tap's totals do not add up: ${line}`);
  return totals;
}

function tapFile(name) {
  return inProject(`.local/tap/${name}.tap`);
}
