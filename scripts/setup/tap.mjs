import { spawn } from "node:child_process";
import { createWriteStream, mkdirSync, readFileSync, rmSync } from "node:fs";
import { createInterface } from "node:readline";
import { inProject, projectRoot } from "./paths.mjs";

/**
 * Run tap on some files, keep the raw TAP in .local/tap/, and tell its totals. On a terminal tap draws its own report;
 * elsewhere one line a file is printed, and whatever failed.
 * @param {string} name of the run; also of the file
 * @param {readonly string[]} args what tap takes: files and options
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {Promise<{ code: number, passed: number, failed: number, skipped: number }>} assertions, as tap counts them
 */
export async function runTap(name, args, env = process.env) {
  const file = tapFile(name);
  mkdirSync(inProject(".local/tap"), { recursive: true });
  rmSync(file, { force: true });
  const drawn = process.stdout.isTTY === true;
  const options = drawn ? [`--output-file=${file}`] : ["--reporter=tap"];
  const command = [inProject("node_modules/tap/dist/esm/run.mjs"), ...options, ...args];
  const child = spawn(process.execPath, command, {
    cwd: projectRoot,
    env,
    stdio: ["inherit", drawn ? "inherit" : "pipe", "inherit"],
  });
  const ended = new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status) => resolve(status ?? 1));
  });
  if (!drawn) await printBriefly(child.stdout, file);
  const code = await ended;
  return { code, ...readTotals(name) };
}

/** Keep every line in the file; print the result of each test file, and failed assertions with their details. */
async function printBriefly(stream, file) {
  const whole = createWriteStream(file);
  let details;
  for await (const line of createInterface({ input: stream })) {
    whole.write(`${line}\n`);
    const [, indent, failed] = /^( *)(not )?ok \d/.exec(line) ?? [];
    if (failed) details = indent;
    const inDetails = details !== undefined && line.startsWith(details);
    if (inDetails || indent === "" || line.startsWith("# {")) console.log(line);
    if (details !== undefined && (line.trim() === "..." || (indent !== undefined && !failed))) details = undefined;
  }
  await new Promise((resolve) => whole.end(resolve));
}

/**
 * Read the totals of an earlier {@link runTap}.
 * @param {string} name
 * @returns {{ passed: number, failed: number, skipped: number }}
 * @throws {Error} if the run did not come to its end
 */
export function readTotals(name) {
  return parseTotals(readFileSync(tapFile(name), "utf8"));
}

/**
 * Add up the totals of several runs; one that did not come to its end counts as a failure.
 * @param {readonly string[]} names
 * @param {(name: string) => string} [read] gives a run's TAP stream
 * @returns {{ lines: string[], passed: number, failed: number }} `lines`: each run's totals, and the tests that were skipped
 */
export function sumTotals(names, read = (name) => readFileSync(tapFile(name), "utf8")) {
  const sum = { lines: [], passed: 0, failed: 0 };
  for (const name of names) {
    try {
      const text = read(name);
      const { passed, failed, skipped } = parseTotals(text);
      sum.lines.push(
        `${name}: ${passed} passed, ${failed} failed, ${skipped} skipped`,
        ...listSkipped(text).map((line) => `  skipped: ${line}`),
      );
      sum.passed += passed;
      sum.failed += failed;
    } catch (error) {
      sum.lines.push(`${name}: ${error.message}`);
      sum.failed += 1;
    }
  }
  return sum;
}

/** The tests and assertions that a TAP stream marks as skipped or to do, each with its file and reason. */
function listSkipped(text) {
  const found = [];
  let file = "";
  for (const line of text.split("\n")) {
    file = /^# Subtest: (.*)/.exec(line)?.[1] ?? file;
    const [, name, reason] = /^ *(?:not )?ok \d+ - (.*) # ((?:SKIP|TODO).*)$/i.exec(line) ?? [];
    if (name !== undefined) found.push(`${file}: ${name} (${reason.trim()})`);
  }
  return found;
}

/**
 * @param {string} text a whole TAP stream as tap writes it
 * @returns {{ passed: number, failed: number, skipped: number }}
 */
export function parseTotals(text) {
  // The last comment of a whole run; a test's own output stands indented before it.
  const line = text.match(/^# \{ total: .*\}$/gm)?.at(-1);
  if (!line) throw new Error("tap did not come to its end: its output has no totals");
  const count = (key) => Number(new RegExp(`\\b${key}: (\\d+)`).exec(line)?.[1] ?? 0);
  const totals = { passed: count("pass"), failed: count("fail"), skipped: count("skip") + count("todo") };
  if (totals.passed + totals.failed + totals.skipped !== count("total"))
    throw new Error(`tap's totals do not add up: ${line}`);
  return totals;
}

function tapFile(name) {
  return inProject(`.local/tap/${name}.tap`);
}
