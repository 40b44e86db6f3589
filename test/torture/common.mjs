// What the parts of the torture test share. Each part is a program: it prints one line for each figure, and ends with code 1 if
// something did not hold.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

export const HERE = dirname(fileURLToPath(import.meta.url));
export const FIXTURES = join(HERE, "..", "fixtures");
export const CHECKPOINT = join(FIXTURES, "pipelines", "tiny", "checkpoint");

const require = createRequire(import.meta.url);
const DIST = join(HERE, "..", "..", "dist");
/** The package as users see it. */
export const library = require(join(DIST, "index.js"));
/** A module of the package that users do not see. */
export const inside = (path) => require(join(DIST, path));

const { values } = parseArgs({
  strict: false,
  options: { quick: { type: "boolean" }, seed: { type: "string", default: "1" } },
});
export const quick = values.quick ?? false;
export const seed = Number(values.seed) || 1;

/** A count: the whole one, or the one of the two-minute cut. */
export const times = (whole, cut) => (quick ? cut : whole);

/**
 * Draw whole numbers, the same for the same seed.
 * @returns a function of a bound: a number from 0 to below it
 */
export function randomizer(own = seed) {
  let state = own >>> 0 || 1;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
  for (let i = 0; i < 8; i++) next();
  return (bound) => next() % bound;
}

const failures = [];

/** Note something that did not hold; the first ones are printed. */
export function fail(message) {
  failures.push(message);
  if (failures.length <= 20) console.log(`FAILED: ${message}`);
}

/** Print a figure, and note it if it is beyond its limit. */
export function figure(name, value, { most, unit = "" } = {}) {
  const limit = most === undefined ? "" : ` (at most ${most})`;
  console.log(`${name}: ${typeof value === "number" ? round(value) : value}${unit && ` ${unit}`}${limit}`);
  if (most !== undefined && !(value <= most)) fail(`${name} is ${round(value)}, more than ${most}`);
}

const round = (value) => (Number.isInteger(value) ? value : Number(value.toPrecision(4)));

/** End the part. */
export function finish() {
  if (failures.length > 0) console.log(`${failures.length} failures`);
  // By exitCode: what keeps the process alive is a failure too, which the script's time limit finds.
  process.exitCode = failures.length > 0 ? 1 : 0;
}

const { LatentDiffusionError, InvalidArgumentError, AbortError } = library;

/** What an error must be: one of this package's classes, with a code that promises something, and a message that can be read. */
export function faultOf(error) {
  const isOwn = [LatentDiffusionError, InvalidArgumentError, AbortError].some((kind) => error instanceof kind);
  if (!isOwn) return `an untyped ${error?.constructor?.name}: ${String(error?.message ?? error).slice(0, 200)}`;
  if (!/^ERR_[A-Z_]+$/.test(error.code) || error.code === "ERR_INTERNAL") return `${error.code}: ${error.message}`;
  if (error.message.length === 0 || error.message.length > 2048)
    return `a message of ${error.message.length} characters`;
  return undefined;
}

/** The value at a share of the sorted values. */
export function quantile(numbers, share) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}

/** Resident memory in MiB, after a forced collection where there is one. */
export async function settledMemory() {
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.();
    await new Promise(setImmediate);
  }
  // A second without work, and what the executor kept goes back to the system.
  await sleep(1300);
  globalThis.gc?.();
  return process.memoryUsage.rss() / 2 ** 20;
}

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/**
 * Watch how long the event loop was held.
 * @returns a function that tells the longest time since it was last asked, in milliseconds
 */
export function watchLoop() {
  let longest = 0;
  let last = performance.now();
  setInterval(() => {
    const now = performance.now();
    longest = Math.max(longest, now - last - 1);
    last = now;
  }, 1).unref();
  return () => {
    const told = Math.max(longest, performance.now() - last - 1);
    longest = 0;
    last = performance.now();
    return told;
  };
}

/**
 * Run a program of this folder.
 * @param {{ args?: readonly string[], node?: readonly string[], timeout?: number, onOutput?: (child, text: string) => void }} [options]
 * @returns its code, its signal, its output; `hung` if it had to be killed
 */
export function runProgram(program, { args = [], node = [], timeout = 60_000, onOutput } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...node, join(HERE, "programs", program), ...args], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    let hung = false;
    const timer = setTimeout(() => {
      hung = true;
      child.kill("SIGKILL");
    }, timeout);
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (chunk) => {
        output += chunk;
        onOutput?.(child, output);
      });
    }
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, output, hung });
    });
  });
}

/** Run tasks, two at a time: most of them wait. */
export async function inPairs(tasks) {
  const left = [...tasks];
  const work = async () => {
    for (let task = left.shift(); task; task = left.shift()) await task();
  };
  await Promise.all([work(), work()]);
}

export const readFixture = (...path) => readFileSync(join(FIXTURES, ...path));
