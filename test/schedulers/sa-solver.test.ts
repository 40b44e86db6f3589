import t from "tap";
import { SASolverScheduler, type TauFunction } from "../../lib/schedulers/sa-solver.js";
import { Generator } from "../../lib/torch/generator.js";
import { Tensor } from "../../lib/torch/tensor.js";

const LDM = { beta_schedule: "scaled_linear", beta_start: 0.0015, beta_end: 0.0195 } as const;

const refused = { code: "ERR_CONFIG_UNSUPPORTED" };

t.test("what diffusers makes NaN of is refused before a run", async (t) => {
  const silent = new SASolverScheduler({ ...LDM, beta_start: 0 });
  silent.setTimesteps(10);
  t.throws(() => silent.checkSteps(), { ...refused, message: /noise of timestep 0/ });
  const twice = new SASolverScheduler({ ...LDM, use_karras_sigmas: true });
  twice.setTimesteps(1000);
  t.throws(() => twice.checkSteps(), { ...refused, message: /first two timesteps/ });
  const level = new SASolverScheduler({ num_train_timesteps: 4, trained_betas: [0.1, 0.1, 0, 0.1] });
  level.setTimesteps(3);
  t.throws(() => level.checkSteps(), { ...refused, message: /does not fall/ });
});

t.test("keys that this package does not run are refused", async (t) => {
  const bad: [string, unknown][] = [
    ["use_flow_sigmas", true],
    ["flow_shift", 3],
    ["predictor_order", 5],
    ["corrector_order", 0],
    ["tau_func", 1],
    ["variance_type", "learned_range"],
    ["algorithm_type", "dpmsolver++"],
    ["prediction_type", "flow_prediction"],
  ];
  for (const [key, value] of bad) t.throws(() => new SASolverScheduler({ [key]: value }), refused, key);
  // diffusers looks its table up with no timestep there, and fails at the first step.
  t.throws(() => new SASolverScheduler({ thresholding: true, algorithm_type: "noise_prediction" }), refused);
});

t.test("tauFunc says how stochastic a step is: 0 is deterministic, and clones have the same", async (t) => {
  const run = (tau: TauFunction, seed: number): number[] => {
    const original = new SASolverScheduler(LDM);
    original.tauFunc = tau;
    original.setTimesteps(5);
    const scheduler = original.clone();
    using generator = Generator.fromSeed(seed);
    let sample = Tensor.from(Float32Array.of(0.3, -1, 2, 0.5), [1, 1, 2, 2]);
    for (const timestep of scheduler.timesteps) {
      const output = Tensor.from(Float32Array.of(0.1, -0.7, 1.2, 0.5), [1, 1, 2, 2]);
      sample = scheduler.step(output, timestep, sample, { generator }).prevSample;
    }
    scheduler.dispose();
    return Array.from(sample.dataSync());
  };
  t.strictSame(
    run(() => 0, 1),
    run(() => 0, 2),
  );
  t.notSame(
    run(() => 1, 1),
    run(() => 1, 2),
  );
  const scheduler = new SASolverScheduler(LDM);
  t.throws(() => (scheduler.tauFunc = 1 as unknown as TauFunction), { code: "ERR_INVALID_ARGUMENT" });
  scheduler.tauFunc = () => NaN;
  scheduler.setTimesteps(5);
  t.throws(() => scheduler.checkSteps(), { code: "ERR_INVALID_ARGUMENT", message: /tauFunc\(999\)/ });
});

t.test("compatible with the schedulers that take over each other's files, and itself", async (t) => {
  t.equal(SASolverScheduler.compatibles.length, 16);
  t.ok(SASolverScheduler.compatibles.includes("DDIMScheduler"));
});
