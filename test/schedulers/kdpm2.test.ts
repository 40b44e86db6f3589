import t from "tap";
import { KDPM2AncestralDiscreteScheduler } from "../../lib/schedulers/kdpm2-ancestral.js";
import { KDPM2DiscreteScheduler } from "../../lib/schedulers/kdpm2.js";
import { Generator } from "../../lib/torch/generator.js";
import type { Tensor } from "../../lib/torch/tensor.js";

const LDM = { beta_schedule: "scaled_linear", beta_start: 0.0015, beta_end: 0.0195 } as const;
const CLASSES = [KDPM2DiscreteScheduler, KDPM2AncestralDiscreteScheduler];
const refused = { code: "ERR_CONFIG_UNSUPPORTED" };

const values = (tensor: Tensor): number[] => Array.from(tensor.dataSync() as Float32Array);

function noise(seed: number): Tensor {
  using generator = Generator.fromSeed(seed);
  return generator.randn([2, 3, 4, 4]);
}

for (const Scheduler of CLASSES) {
  const name = Scheduler.kind.className;

  t.test(`${name}: N steps are 2N - 1 evaluations, each middle between two timesteps`, async (t) => {
    const scheduler = new Scheduler(LDM);
    t.equal(scheduler.order, 2);
    t.equal(scheduler.timesteps.length, 1999, "before setTimesteps");
    scheduler.setTimesteps(4);
    t.equal(scheduler.numInferenceSteps, 4);
    const { timesteps } = scheduler;
    t.strictSame(
      timesteps.filter((_, i) => i % 2 === 0),
      [999, 666, 333, 0],
    );
    // Ancestral steps go below the next level, and so may their middles.
    if (Scheduler === KDPM2DiscreteScheduler)
      t.ok(timesteps.every((timestep, i) => i === 0 || timestep < (timesteps[i - 1] ?? 0)));
    scheduler.setTimesteps(1);
    t.strictSame(scheduler.timesteps, [0]);
    for (const count of [0, 1001, 1.5])
      t.throws(() => scheduler.setTimesteps(count), { code: "ERR_INVALID_ARGUMENT", message: /1 to 1000|integer/ });
    t.throws(() => scheduler.setTimesteps(undefined, { timesteps: [9, 1] }), { code: "ERR_INVALID_ARGUMENT" });
  });

  t.test(`${name}: a clone finishes the step that was begun, and a new schedule forgets it`, async (t) => {
    const scheduler = new Scheduler(LDM);
    scheduler.setTimesteps(3);
    const [output, sample] = [noise(1), noise(2)];
    const [first = 0, second = 0] = scheduler.timesteps;
    const half = scheduler.step(output, first, sample).prevSample;
    t.equal(scheduler.stateInFirstOrder, false);
    const twin = scheduler.clone();
    t.equal(twin.stateInFirstOrder, false);
    t.strictSame(values(twin.scaleModelInput(half, second)), values(scheduler.scaleModelInput(half, second)));
    const end = (one: InstanceType<typeof Scheduler>): number[] =>
      values(one.step(output, second, half, { generator: Generator.fromSeed(3) }).prevSample);
    t.strictSame(end(twin), end(scheduler));
    t.equal(scheduler.stateInFirstOrder, true);
    twin.setTimesteps(3);
    t.strictSame(values(twin.step(output, first, sample).prevSample), values(half));
    twin.dispose();
    t.equal(twin.stateInFirstOrder, true);
  });

  t.test(`${name}: what cannot be stepped with is refused before a run`, async (t) => {
    const check = (config: object, steps: number): (() => void) => {
      const scheduler = new Scheduler(config);
      scheduler.setTimesteps(steps);
      return () => scheduler.checkSteps({ eta: 0 });
    };
    t.doesNotThrow(check(LDM, 20));
    t.throws(check({ prediction_type: "sample" }, 3), { ...refused, message: /prediction_type/ });
    t.throws(check({ beta_start: 0 }, 3), { ...refused, message: /no noise/ });
    const rising = { trained_betas: [0.5, -0.2, -0.1], num_train_timesteps: 3 };
    t.throws(check(rising, 3), { ...refused, message: /does not fall/ });
    t.throws(() => new Scheduler({ use_karras_sigmas: true, use_beta_sigmas: true }), refused);
    t.throws(() => new Scheduler({ beta_schedule: "sigmoid" as "linear" }), refused);
    const scheduler = new Scheduler(LDM);
    scheduler.setTimesteps(3);
    scheduler.setBeginIndex(1);
    t.throws(() => scheduler.checkSteps(), { code: "ERR_INVALID_ARGUMENT", message: /first half of a step/ });
    t.throws(() => scheduler.step(noise(1), 0, noise(2)), { code: "ERR_INVALID_ARGUMENT" });
    scheduler.setTimesteps(3);
    scheduler.setBeginIndex(2);
    t.doesNotThrow(() => scheduler.checkSteps());
  });
}

t.test("ancestral sampling refuses a step that falls too far: diffusers divides by a middle of 0", async (t) => {
  const scheduler = new KDPM2AncestralDiscreteScheduler({ beta_schedule: "squaredcos_cap_v2" });
  scheduler.setTimesteps(2);
  t.throws(() => scheduler.checkSteps(), { ...refused, message: /take more steps/ });
  new KDPM2DiscreteScheduler(scheduler.config).setTimesteps(2);
});
