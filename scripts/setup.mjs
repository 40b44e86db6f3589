// Brings a fresh clone to where the library runs, doing only what is missing. `npm run demo`, `npm test`, CI and people
// call this one script. It and all it imports use Node alone: it runs before anything is installed.
import { realpathSync } from "node:fs";
import { ensureAddon } from "./setup/addon.mjs";
import { ensureItWorks } from "./setup/check.mjs";
import { SetupError } from "./setup/command.mjs";
import { ensureDependencies } from "./setup/dependencies.mjs";
import { ensureLibTorch } from "./setup/libtorch.mjs";
import { withLock } from "./setup/lock.mjs";
import { setupLock } from "./setup/paths.mjs";
import { Report } from "./setup/report.mjs";
import { ensureTypeScript } from "./setup/typescript.mjs";

const OLDEST_NODE = [20, 19];

/**
 * Do all that is missing: npm dependencies, LibTorch, addon, TypeScript; then make one tensor. One process at a time: two at once
 * wait for each other, and the second finds all done.
 * @param {{ report?: Report, rebuild?: "all" | "native" | "typescript" }} [options] `rebuild`: what to build even if it is fresh
 * @returns {Promise<import("./setup/libtorch.mjs").LibTorch>} the LibTorch in use
 * @throws {SetupError} with advice
 */
export async function setup({ report = new Report(), rebuild } = {}) {
  checkNode();
  return withLock(
    setupLock,
    () => ensureAll(report, rebuild),
    () => report.write("  another setup is at work in this checkout; waiting for it ..."),
  );
}

async function ensureAll(report, rebuild) {
  await report.part("dependencies", ensureDependencies);
  const libTorch = await report.part("LibTorch", ensureLibTorch);
  const forced = (part) => ({ force: rebuild === "all" || rebuild === part });
  await report.part("addon", (say) => ensureAddon(say, libTorch, forced("native")));
  await report.part("TypeScript", (say) => ensureTypeScript(say, forced("typescript")));
  await report.part("check", (say) => ensureItWorks(say, libTorch));
  return libTorch;
}

function checkNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1])) return;
  throw new SetupError(`Node ${process.versions.node} is too old`, `Install Node ${OLDEST_NODE.join(".")} or later.`);
}

/**
 * Run a script's main function; a failure ends the process with what failed and what to do.
 * @param {() => Promise<number | void>} main its number becomes the exit status
 */
export async function runMain(main) {
  try {
    process.exitCode = (await main()) ?? 0;
  } catch (error) {
    process.stderr.write(
      error instanceof SetupError ? `\n✗ ${error.message}\n\n  ${error.advice}\n` : `${error.stack}\n`,
    );
    process.exitCode = 1;
  }
}

if (import.meta.filename === realpathSync(process.argv[1])) {
  await runMain(async () => {
    const at = process.argv.indexOf("--rebuild");
    const rebuild = at < 0 ? undefined : (process.argv[at + 1] ?? "all");
    if (rebuild !== undefined && !["all", "native", "typescript"].includes(rebuild)) {
      throw new SetupError(
        `Expected "all", "native" or "typescript" for --rebuild but received "${rebuild}"`,
        "See package.json's scripts.",
      );
    }
    await setup({ report: new Report({ verbose: true }), rebuild });
  });
}
