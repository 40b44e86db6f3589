// `npm run test:parity`: compares with Python diffusers, live: the same library, thread count and batch.
// Arguments go to tap: `npm run test:parity -- test/parity/schedulers.test.ts` runs that group's reference and test alone.
import { existsSync, readdirSync, rmSync } from "node:fs";
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
  return (await runTap("parity", ["--jobs=1", "--timeout=1200", ...options, ...files], env)).code;
});

function split(args) {
  const files = args.filter((arg) => arg.endsWith(".test.ts"));
  const all = readdirSync(inProject("test/parity"))
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => `test/parity/${name}`);
  return { options: args.filter((arg) => !arg.endsWith(".test.ts")), files: files.length > 0 ? files : all };
}

/** Let Python compute a group's inputs and expected outputs, always anew. */
async function compute(group, python, env, report) {
  const script = inProject(`test/parity/reference/${group}.py`);
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
