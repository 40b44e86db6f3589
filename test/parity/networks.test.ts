import { execFile } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import t, { type Test } from "tap";
import { configure } from "../../lib/index.js";
import { LatentDiffusionError } from "../../lib/errors.js";
import type { JsonObject } from "../../lib/files/json.js";
import { parametersOf } from "../../lib/models/network-model.js";
import { completeUNet2DConfig } from "../../lib/models/unet-2d/config.js";
import { unet2dNetwork } from "../../lib/models/unet-2d/network.js";
import { completeVQConfig } from "../../lib/models/vq/config.js";
import { vqNetwork } from "../../lib/models/vq/network.js";
import { caseNames, compareCase, loadModel, readCase, type UNetRun, type VQRun } from "../support/network-cases.js";

// Every case of reference/network_cases.py against diffusers, on the same library and the same number of threads;
// both load the same files, since MKL rounds by the address of a weight.

const root = process.env.PARITY_DIR === undefined ? undefined : join(process.env.PARITY_DIR, "networks");
const skip = root === undefined ? "needs the files of reference/networks.py in PARITY_DIR: npm run test:parity" : false;
const folder = root ?? "";
const threads = process.env.PARITY_THREADS ?? "2";
if (root !== undefined) configure({ threads: Number(threads) });

function names(prefix: string): string[] {
  return root === undefined ? [] : caseNames(root, prefix);
}

t.test("UNet2DModel is diffusers', bit for bit", { skip }, async (t) => {
  t.ok(names("unet-").length >= 24, `${names("unet-").length} configurations`);
  for (const name of names("unet-"))
    await t.test(name, (t) => compareCase(t, join(folder, name), { tolerance: 0, optimize: false }));
});

t.test("VQModel is diffusers', bit for bit", { skip }, async (t) => {
  t.ok(names("vq-").length >= 10, `${names("vq-").length} configurations`);
  for (const name of names("vq-"))
    await t.test(name, (t) => compareCase(t, join(folder, name), { tolerance: 0, optimize: false }));
});

interface Mixture {
  readonly class: "UNet2DModel" | "VQModel";
  readonly config: JsonObject;
  /** Null where diffusers cannot construct it or run it. */
  readonly parameters: Readonly<Record<string, readonly number[]>> | null;
}

t.test(
  "mixtures of blocks run here if and only if they run in diffusers, with the same parameters",
  { skip },
  async (t) => {
    const { mixtures } = JSON.parse(readFileSync(join(folder, "mixtures", "case.json"), "utf8")) as {
      mixtures: Mixture[];
    };
    for (const name of ["UNet2DModel", "VQModel"]) {
      const tried = mixtures.filter((mixture) => mixture.class === name);
      const running = tried.filter(({ parameters }) => parameters !== null);
      t.ok(
        running.length >= 40 && tried.length - running.length >= 40,
        `${name}: ${running.length} run, ${tried.length - running.length} do not`,
      );
    }
    for (const mixture of mixtures) {
      const { config, parameters } = mixture;
      t.strictSame(
        parametersHere(t, mixture),
        parameters,
        `${parameters ? "runs" : "is refused"}: ${JSON.stringify(config)}`,
      );
    }
  },
);

/** Names and shapes, or null if the configuration is refused. */
function parametersHere(t: Test, mixture: Mixture): Record<string, readonly number[]> | null {
  try {
    const spec =
      mixture.class === "UNet2DModel"
        ? unet2dNetwork(completeUNet2DConfig(mixture.config))
        : vqNetwork(completeVQConfig(mixture.config));
    return Object.fromEntries(parametersOf(spec));
  } catch (error) {
    if (!(error instanceof LatentDiffusionError) || error.code !== "ERR_CONFIG_UNSUPPORTED")
      t.fail(`Expected ERR_CONFIG_UNSUPPORTED but received ${String(error)}`);
    return null;
  }
}

interface Job {
  readonly module: string;
  readonly tensors: string;
  readonly runs: readonly { method: string; arguments: readonly (string | number)[]; expected: string }[];
}

t.test(
  "modules that were saved here run in Python's torch.jit.load with equal results",
  { skip: skip || pythonMissing() },
  async (t) => {
    const jobs: Job[] = [];
    const out = t.testdir({});
    for (const name of [...names("unet-"), ...names("vq-")]) {
      const { case: reference } = readCase(join(folder, name));
      const model = await loadModel(join(folder, name), reference.class, { dtype: "float32", optimize: false });
      const module = join(out, `${name}.pt`);
      await model.module.save(module);
      model.dispose();
      const runs = (reference.aligned ?? []).flatMap(scriptRun);
      jobs.push({ module, tensors: join(folder, name, "tensors.safetensors"), runs });
    }
    writeFileSync(join(out, "jobs.json"), JSON.stringify(jobs));
    const script = join(process.cwd(), "test", "parity", "reference", "networks.py");
    const { stdout } = await promisify(execFile)(
      process.env.PARITY_PYTHON ?? "",
      [script, "--torchscript", join(out, "jobs.json")],
      {
        env: { ...process.env, PARITY_THREADS: threads },
      },
    );
    const result = JSON.parse(stdout) as { compared: number; differing: string[]; stuck: string[] };
    t.equal(
      result.compared,
      jobs.reduce((sum, { runs }) => sum + runs.length, 0),
      `${result.compared} runs compared`,
    );
    t.strictSame(result.differing, []);
    t.strictSame(result.stuck, [], "and on any other device");
  },
);

function pythonMissing(): string | false {
  const python = process.env.PARITY_PYTHON;
  return python !== undefined && existsSync(python)
    ? false
    : "needs the reference Python in PARITY_PYTHON: npm run test:parity";
}

/** What Python calls for a run; a decode around the quantiser is not one method of the module. */
function scriptRun(run: UNetRun | VQRun): Job["runs"][number][] {
  if ("input" in run)
    return run.options.forceNotQuantize ? [] : [{ method: run.method, arguments: [run.input], expected: run.expected }];
  const labels = run.classLabels === null ? [] : [run.classLabels];
  return [{ method: "forward", arguments: [run.sample, run.timestep, ...labels], expected: run.expected }];
}
