import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { type DDIMConfigKeys, DDIMScheduler } from "../../lib/schedulers/ddim.js";
import type { JsonObject } from "../../lib/files/json.js";
import { Tensor } from "../../lib/torch/tensor.js";
import { assertTensorEqual, pick, readTensors, toTensor } from "../support/tensors.js";
import { type ComparedRun, readCase, replayRun, replayTrajectory } from "../support/scheduler-cases.js";
import { schedulerReport } from "../support/scheduler-report.js";

// All of it is bit for bit, but for what the cases say: the schedulers use LibTorch's own operators, and float32 where diffusers does.

const root = process.env.PARITY_DIR;
const skip =
  root === undefined ? "needs the files of reference/schedulers.py in PARITY_DIR: npm run test:parity" : false;
const reference = join(root ?? "", "schedulers");

type Config = Partial<DDIMConfigKeys>;

const compared: ComparedRun[] = [];
// scripts/test-parity.mjs prints it.
t.teardown(() => {
  if (root !== undefined) writeFileSync(join(root, "schedulers.report.md"), schedulerReport(compared));
});

t.test("trajectories", { skip }, async (t) => {
  const OTHERS = ["tables", "spacings", "broken", "configs"];
  const cases = existsSync(reference)
    ? readdirSync(reference).filter((name) => !OTHERS.includes(name) && !/^(forward|run)-/.test(name))
    : [];
  t.ok(cases.length >= 24, `${cases.length} settings`);
  for (const name of cases)
    await t.test(name, async (t) => {
      compared.push(await replayTrajectory(t, join(reference, name), 0));
    });
});

t.test("runs of every scheduler", { skip }, async (t) => {
  const cases = existsSync(reference) ? readdirSync(reference).filter((name) => name.startsWith("run-")) : [];
  t.ok(cases.length >= 20, `${cases.length} runs`);
  for (const name of cases)
    await t.test(name, async (t) => {
      compared.push(await replayRun(t, join(reference, name)));
    });
});

t.test("addNoise and getVelocity", { skip }, async (t) => {
  for (const dtype of ["float32", "float64", "float16", "bfloat16"]) {
    const folder = join(reference, `forward-${dtype}`);
    const { config, timesteps } = readCase(folder) as { config: Config; timesteps: { each: number[]; one: [number] } };
    const tensors = readTensors(join(folder, "tensors.safetensors"));
    const scheduler = new DDIMScheduler(config);
    const clean = toTensor(pick(tensors, "clean"));
    const noise = toTensor(pick(tensors, "noise"));
    for (const [name, at] of [
      ["each", timesteps.each],
      ["one", timesteps.one],
      ["one", timesteps.one[0]],
    ] as const) {
      const options = { tolerance: 0, name: `${dtype}, ${name}` };
      await assertTensorEqual(t, scheduler.addNoise(clean, noise, at), pick(tensors, `noised.${name}`), options);
      await assertTensorEqual(t, scheduler.getVelocity(clean, noise, at), pick(tensors, `velocity.${name}`), options);
    }
  }
});

t.test("tables of alphas_cumprod", { skip }, async (t) => {
  const folder = join(reference, "tables");
  const tensors = readTensors(join(folder, "tensors.safetensors"));
  const { configs } = readCase(folder) as { configs: Config[] };
  for (const [i, config] of configs.entries()) {
    const table = Tensor.from(new DDIMScheduler(config).alphasCumprod);
    await assertTensorEqual(t, table, pick(tensors, String(i)), { tolerance: 0, name: JSON.stringify(config) });
  }
});

t.test("timesteps of every number of steps", { skip }, async (t) => {
  const folder = join(reference, "spacings");
  const tensors = readTensors(join(folder, "tensors.safetensors"));
  const { configs } = readCase(folder) as { configs: Config[] };
  for (const [i, config] of configs.entries()) {
    const scheduler = new DDIMScheduler(config);
    const all = pick(tensors, `${i}.timesteps`).values();
    const total = scheduler.config.num_train_timesteps;
    const wrong: number[] = [];
    let refused = 0;
    let at = 0;
    for (const [n, length] of pick(tensors, `${i}.lengths`).values().entries()) {
      const expected = all.slice(at, (at += length));
      const outside = expected.some((timestep) => timestep < 0 || timestep >= total);
      try {
        scheduler.setTimesteps(n + 1);
        if (outside || scheduler.timesteps.join() !== expected.join()) wrong.push(n + 1);
      } catch (error) {
        refused++;
        if (!outside || (error as { code?: string }).code !== "ERR_CONFIG_UNSUPPORTED") wrong.push(n + 1);
      }
    }
    t.strictSame(wrong, [], `${JSON.stringify(config)}: ${total - refused} equal, ${refused} refused`);
  }
});

t.test("what diffusers makes NaN or an IndexError of is refused before the first step", { skip }, async (t) => {
  const { cases } = readCase(join(reference, "broken")) as {
    cases: { config: Config; steps: number; eta: number; reason: string }[];
  };
  for (const { config, steps, eta, reason } of cases) {
    const start = (): void => {
      const scheduler = new DDIMScheduler(config);
      scheduler.setTimesteps(steps);
      scheduler.checkSteps({ eta });
    };
    t.throws(start, { code: "ERR_CONFIG_UNSUPPORTED" }, `${JSON.stringify(config)}: ${reason}`);
  }
});

t.test("configs of other classes", { skip }, async (t) => {
  const { cases } = readCase(join(reference, "configs")) as { cases: { source: JsonObject; target: JsonObject }[] };
  // Python's list of defaulted keys is a set's, in any order.
  const sorted = (config: JsonObject): JsonObject => ({
    ...config,
    _use_default_values: [...(config._use_default_values as string[])].sort(),
  });
  for (const { source, target } of cases) {
    t.strictSame(sorted(DDIMScheduler.fromConfig(source).config), sorted(target));
  }
});
