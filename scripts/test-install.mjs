// `npm run test:install`: publishes all packages on a registry of its own, installs them as users do, and makes pictures with each tool.
// `-- --quick`: npm and the present Node, one bundler, one test runner; CI runs this. `-- --only jest`: the tools whose names contain a word. `-- --keep`: keeps the
// folders for a look. `-- --no-pack`: takes the tarballs of the last run.
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { makeFirstPicture, pictureOfCheckout } from "../test/install/first-picture.mjs";
import { matrix, quickMatrix } from "../test/install/matrix.mjs";
import { startRegistry } from "../test/install/registry.mjs";
import { Sandbox } from "../test/install/sandbox.mjs";
import { ensureTools } from "../test/install/tools.mjs";
import { packAddon, packDemo, packLibTorch } from "./pack/binaries.mjs";
import { currentPlatform } from "./pack/packages.mjs";
import { packStandIns, publishAll } from "./pack/publish.mjs";
import { packRoot } from "./pack/root.mjs";
import { runMain, setup } from "./setup.mjs";
import { inProject } from "./setup/paths.mjs";
import { Report } from "./setup/report.mjs";

/** Not where `npm run pack:all` puts packages: stand-ins must not get among those that are published. */
const testPackages = inProject(".local/install-packages");

await runMain(async () => {
  const flag = { type: "boolean", default: false };
  const { values } = parseArgs({
    options: { quick: flag, keep: flag, "no-pack": flag, only: { type: "string" } },
  });
  const report = new Report();
  const libTorch = await setup({ report });
  await report.part("tools", async () => ({ result: "there", value: await ensureTools(!values.quick) }));
  if (!values["no-pack"]) await packEverything(report, libTorch.path);
  const folder = mkdtempSync(join(tmpdir(), "latent-diffusion-install-"));
  const registry = await startRegistry(join(folder, "registry"));
  try {
    await report.part("publish", async (say) => {
      const published = await publishAll(testPackages, { registry: registry.url, token: "anyone", fresh: true, say });
      return { result: `${published.length} packages` };
    });
    return await testAll(report, folder, registry.url, values);
  } finally {
    registry.stop();
    if (values.keep) report.write(`  kept: ${folder}`);
    else rmSync(folder, { recursive: true, force: true });
  }
});

async function packEverything(report, libTorchPath) {
  rmSync(testPackages, { recursive: true, force: true });
  mkdirSync(testPackages, { recursive: true });
  await report.part("pack", async (say) => {
    say("packing (about half a minute)");
    await packRoot(testPackages);
    await packAddon(testPackages);
    await packDemo(testPackages);
    await packLibTorch(testPackages, libTorchPath);
    await packStandIns(currentPlatform(), testPackages);
    return { result: "all packages of this platform" };
  });
}

/** @returns {Promise<number>} the exit status */
async function testAll(report, folder, registry, { quick, only, keep }) {
  const expected = await pictureOfCheckout();
  const wanted = ({ name }) => only === undefined || name.toLowerCase().includes(only.toLowerCase());
  const cases = [firstPicture(report), ...(quick ? quickMatrix : matrix)];
  const totals = { passed: 0, failed: 0 };
  for (const [index, { project, node = process.execPath, versions, install, runs }] of cases.entries()) {
    const chosen = runs.filter(wanted).filter((run) => existsSync(run.node ?? node));
    if (chosen.length === 0) continue;
    const sandbox = new Sandbox(join(folder, String(index)), registry, node);
    if (project) sandbox.copyProject(project, versions);
    // Once for all runs of this case; a failure is each run's failure.
    let installed;
    for (const { name, run } of chosen) {
      const failed = await testOne(report, name, expected, async () => {
        await (installed ??= install(sandbox));
        return run(sandbox);
      });
      totals[failed ? "failed" : "passed"]++;
    }
    if (!keep) rmSync(sandbox.folder, { recursive: true, force: true });
  }
  report.write(`# ${totals.passed} passed, ${totals.failed} failed`);
  return totals.failed === 0 && totals.passed > 0 ? 0 : 1;
}

/** @returns {Promise<boolean>} whether it failed */
function testOne(report, name, expected, work) {
  return report.part(name.padEnd(26), async (say) => {
    say("installing and running");
    try {
      const pictures = await work();
      const other = pictures.find((picture) => picture !== expected);
      if (other) throw new Error(`Expected the checkout's picture, ${expected}, but received ${other}`);
      return { result: pictures.length > 0 ? "makes the checkout's picture" : "types hold", value: false };
    } catch (error) {
      return { result: error.message, failed: true, value: true };
    }
  });
}

function firstPicture(report) {
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;
  const run = async (sandbox) => {
    const { picture, downloaded, installed, installing, program, commandLine } = await makeFirstPicture(sandbox);
    const seconds = (installing + program).toFixed(1);
    const command = commandLine === undefined ? "" : `; ${commandLine.toFixed(1)} s npx latent-diffusion generate`;
    report.write(
      `  ${megabytes(downloaded)} downloaded, ${megabytes(installed)} installed; ${seconds} s from an empty folder to the first picture: ` +
        `${installing.toFixed(1)} s npm install, ${program.toFixed(1)} s a program${command}`,
    );
    return [picture];
  };
  return { install: async () => {}, runs: [{ name: `npm, Node ${process.versions.node}`, run }] };
}
