import { readdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { EulerAncestralDiscreteScheduler } from "../../lib/schedulers/euler-ancestral.js";
import { EulerDiscreteScheduler } from "../../lib/schedulers/euler.js";
import { HeunDiscreteScheduler } from "../../lib/schedulers/heun.js";
import { LMSDiscreteScheduler } from "../../lib/schedulers/lms.js";
import { Generator } from "../../lib/torch/generator.js";
import type { Tensor } from "../../lib/torch/tensor.js";
import { replayRun } from "../support/scheduler-cases.js";

const FIXTURES = join(__dirname, "..", "fixtures", "schedulers");
const LDM = { beta_schedule: "scaled_linear", beta_start: 0.0015, beta_end: 0.0195 } as const;
const CLASSES = [EulerDiscreteScheduler, EulerAncestralDiscreteScheduler, HeunDiscreteScheduler, LMSDiscreteScheduler];

const values = (tensor: Tensor): number[] => Array.from(tensor.dataSync() as Float32Array);

for (const name of readdirSync(FIXTURES).filter((folder) => folder.startsWith("run-"))) {
  // Roots may round otherwise on another CPU.
  t.test(`diffusers' ${name}`, (t) => replayRun(t, join(FIXTURES, name), 1e-5));
}

t.test("what a step keeps: clones go on alike, and a new schedule forgets", async (t) => {
  for (const Scheduler of CLASSES.filter((one) => one !== EulerAncestralDiscreteScheduler)) {
    const scheduler = new Scheduler(LDM);
    scheduler.setTimesteps(4);
    using generator = Generator.fromSeed(1);
    const [output, sample] = [generator.randn([1, 3, 2, 2]), generator.randn([1, 3, 2, 2])];
    const [first = 0, second = 0] = scheduler.timesteps;
    const fresh = values(scheduler.step(output, first, sample).prevSample);
    const twin = scheduler.clone();
    t.strictSame(
      values(twin.step(output, second, sample).prevSample),
      values(scheduler.step(output, second, sample).prevSample),
      scheduler.className,
    );
    scheduler.setTimesteps(4);
    t.equal(scheduler.stepIndex, undefined);
    t.strictSame(values(scheduler.step(output, first, sample).prevSample), fresh);
  }
});

t.test("ancestral sampling refuses sample prediction before a run, as diffusers cannot step with it", async (t) => {
  const scheduler = new EulerAncestralDiscreteScheduler({ prediction_type: "sample" });
  scheduler.setTimesteps(3);
  t.throws(() => scheduler.checkSteps(), { code: "ERR_CONFIG_UNSUPPORTED", message: /prediction_type/ });
});

t.test("schedules that diffusers makes NaN of are refused before a run", async (t) => {
  const lms = new LMSDiscreteScheduler({ trained_betas: [0.1, 0.2] });
  lms.setTimesteps(4);
  t.throws(() => lms.checkSteps(), { code: "ERR_CONFIG_UNSUPPORTED", message: /step before/ });
  const ancestral = new EulerAncestralDiscreteScheduler({ beta_schedule: "squaredcos_cap_v2" });
  ancestral.setTimesteps(4);
  t.throws(() => ancestral.checkSteps(), { code: "ERR_CONFIG_UNSUPPORTED", message: /take more steps/ });
});
