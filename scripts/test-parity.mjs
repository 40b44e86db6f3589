// `npm run test:parity`: compares with Python diffusers, live: the same library, thread count and batch.
// `npm run test:parity -- schedulers` runs that group's reference and test alone; other arguments go to tap.
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { basename } from "node:path";
import { runMain, setup } from "./setup.mjs";
import { runCommand } from "./setup/command.mjs";
import { inProject } from "./setup/paths.mjs";
import { ensureReference } from "./setup/reference.mjs";
import { Report } from "./setup/report.mjs";
import { runTap } from "./setup/tap.mjs";

/** Sums are split over threads, so both sides must use as many; more than the machine's cores would only spin. */
const THREADS = "2";

await runMain(async () => {
  const report = new Report();
  await setup({ report });
  const { python, libTorch } = await report.part("reference", ensureReference);
  const env = {
    ...process.env,
    LATENT_DIFFUSION_LIBTORCH: libTorch,
    PARITY_DIR: inProject(".local/parity"),
    // Modules that are saved here are run there.
    PARITY_PYTHON: python,
    PARITY_THREADS: THREADS,
    PYTHONDONTWRITEBYTECODE: "1",
    HF_HUB_OFFLINE: "1",
  };
  const { options, files } = split(process.argv.slice(2));
  // Spinning threads slow each other many times over where the cores are busy; how they wait changes no bits.
  const patient = { ...env, OMP_WAIT_POLICY: "passive" };
  for (const group of files.map((file) => basename(file, ".test.ts"))) await compute(group, python, patient, report);
  // One file at a time: two processes of two OpenMP threads each on two cores spend their time spinning.
  const { code } = await runTap("parity", ["--jobs=1", "--timeout=1200", ...options, ...files], env);
  for (const file of files) printReport(basename(file, ".test.ts"));
  return code;
});

/** Print what a group's test wrote about what it compared. */
function printReport(group) {
  const path = reportOf(group);
  if (existsSync(path)) console.log(readFileSync(path, "utf8"));
}

function reportOf(group) {
  return inProject(`.local/parity/${group}.report.md`);
}

function split(args) {
  const all = readdirSync(inProject("test/parity"))
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => `test/parity/${name}`);
  const named = args.map((arg) => (all.includes(`test/parity/${arg}.test.ts`) ? `test/parity/${arg}.test.ts` : arg));
  const files = named.filter((arg) => arg.endsWith(".test.ts"));
  return { options: named.filter((arg) => !arg.endsWith(".test.ts")), files: files.length > 0 ? files : all };
}

/** Let Python compute a group's inputs and expected outputs, always anew. */
async function compute(group, python, env, report) {
  const script = inProject(`test/parity/reference/${group}.py`);
  rmSync(reportOf(group), { force: true });
  if (!existsSync(script)) return;
  await report.part(group, async (say) => {
    const out = inProject(`.local/parity/${group}`);
    rmSync(out, { recursive: true, force: true });
    say("computing the reference with Python diffusers");
    await runCommand([python, script, "--out", out], {
      log: `parity-${group}`,
      env,
      advice: "The reference script failed: see its message above.",
    });
    return { result: `${readdirSync(out).length} cases computed by Python diffusers` };
  });
}
