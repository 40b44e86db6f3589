// `npm run test:torture`: what callers, files and closing processes can do, many times over; SECURITY.md says what must hold.
//   --quick    a cut of about two minutes, which CI runs
//   --seed N   another sequence of random choices; a failure names its own
//   a name     that part alone
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { basename } from "node:path";
import { parseArgs } from "node:util";
import { runMain, setup } from "./setup.mjs";
import { inProject } from "./setup/paths.mjs";

const { values, positionals } = parseArgs({
  options: { quick: { type: "boolean" }, seed: { type: "string", default: "1" } },
  allowPositionals: true,
});

/** No part may take longer: then something hangs. */
const LIMIT_MINUTES = 20;

await runMain(async () => {
  await setup();
  const parts = readdirSync(inProject("test/torture"))
    .filter((name) => name.endsWith(".mjs") && name !== "common.mjs")
    .map((name) => basename(name, ".mjs"))
    .filter((name) => positionals.length === 0 || positionals.includes(name));
  const unknown = positionals.filter((name) => !parts.includes(name));
  if (unknown.length > 0) throw new Error(`No such part: ${unknown.join(", ")}`);
  const failed = [];
  for (const part of parts) {
    const began = performance.now();
    console.log(`== ${part}, seed ${values.seed}`);
    if (!(await run(part))) failed.push(part);
    console.log(`== ${part} took ${((performance.now() - began) / 1000).toFixed(0)} s`);
  }
  console.log(
    failed.length === 0 ? `All ${parts.length} parts held` : `${failed.length} of ${parts.length} failed: ${failed}`,
  );
  return failed.length === 0 ? 0 : 1;
});

function run(part) {
  const options = [...(values.quick ? ["--quick"] : []), `--seed=${values.seed}`];
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["--expose-gc", inProject(`test/torture/${part}.mjs`), ...options], {
      cwd: inProject("."),
      stdio: "inherit",
    });
    const timer = setTimeout(() => {
      console.log(`FAILED: ${part} did not end within ${LIMIT_MINUTES} minutes`);
      child.kill("SIGKILL");
    }, LIMIT_MINUTES * 60_000);
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      if (signal) console.log(`FAILED: ${part} was ended by ${signal}`);
      resolve(code === 0);
    });
  });
}
