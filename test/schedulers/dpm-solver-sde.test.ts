import t from "tap";
import { DPMSolverSDEScheduler } from "../../lib/schedulers/dpm-solver-sde.js";
import { Generator } from "../../lib/torch/generator.js";
import { Tensor } from "../../lib/torch/tensor.js";

const LDM = { beta_schedule: "scaled_linear", beta_start: 0.0015, beta_end: 0.0195 } as const;
const refused = { code: "ERR_CONFIG_UNSUPPORTED" };

const values = (tensor: Tensor): number[] => Array.from(tensor.dataSync() as Float32Array);

function noise(seed: number, shape: readonly number[] = [2, 3, 4, 4]): Tensor {
  using generator = Generator.fromSeed(seed);
  return generator.randn(shape);
}

function scheduled(config: object, steps: number): DPMSolverSDEScheduler {
  const scheduler = new DPMSolverSDEScheduler(config);
  scheduler.setTimesteps(steps);
  return scheduler;
}

t.test("the noise of a step holds the noise of its first half, as a Brownian motion's increments do", async (t) => {
  const scheduler = scheduled(LDM, 5);
  // Two networks that find nothing: what is left of a sample of zeros is the noise.
  const shape = [1, 20_000];
  const zero = Tensor.from(new Float32Array(20_000), shape);
  using generator = Generator.fromSeed(5);
  const [begin = 0, middle = 0] = scheduler.timesteps;
  const half = values(scheduler.step(zero, begin, zero, { generator }).prevSample);
  // Its own middle would give a clean sample: the network that predicts all of it as noise gives 0.
  const [sigma = NaN, next = NaN] = scheduler.sigmas;
  const halfway = Math.sqrt(sigma * next);
  const output = Tensor.from(
    Float32Array.from(half, (x) => x / halfway),
    shape,
  );
  const end = values(
    scheduler.step(output, middle, Tensor.from(Float32Array.from(half), shape), { generator }).prevSample,
  );
  const mean = (list: readonly number[]): number => list.reduce((sum, x) => sum + x, 0) / list.length;
  const product = (a: readonly number[], b: readonly number[]): number => mean(a.map((x, i) => x * (b[i] ?? NaN)));
  const correlation = product(half, end) / Math.sqrt(product(half, half) * product(end, end));
  const expected = Math.sqrt((sigma - halfway) / (sigma - next));
  t.ok(Math.abs(correlation - expected) < 0.02, `${correlation} for ${expected}`);
  const up = (from: number, to: number): number => (to * Math.sqrt(from ** 2 - to ** 2)) / from;
  t.ok(Math.abs(Math.sqrt(product(half, half)) / up(sigma, halfway) - 1) < 0.02);
  t.ok(Math.abs(Math.sqrt(product(end, end)) / up(sigma, next) - 1) < 0.02);
});

t.test("seeds: the generator's, one per image, or the config's own", async (t) => {
  const run = (scheduler: DPMSolverSDEScheduler, generator: () => Generator | Generator[]): number[] => {
    scheduler.setTimesteps(3);
    const source = generator();
    let sample = noise(1);
    for (const timestep of scheduler.timesteps)
      sample = scheduler.step(noise(2), timestep, sample, { generator: source }).prevSample;
    return values(sample);
  };
  const scheduler = new DPMSolverSDEScheduler(LDM);
  const seeded = (seed: number) => (): Generator => Generator.fromSeed(seed);
  t.strictSame(run(scheduler, seeded(4)), run(scheduler, seeded(4)), "the same seed");
  t.notSame(run(scheduler, seeded(4)), run(scheduler, seeded(5)), "another seed");
  const pair = run(scheduler, () => [Generator.fromSeed(8), Generator.fromSeed(9)]);
  const swapped = run(scheduler, () => [Generator.fromSeed(8), Generator.fromSeed(7)]);
  t.strictSame(pair.slice(0, 48), swapped.slice(0, 48), "an image depends on its own generator only");
  t.notSame(pair.slice(48), swapped.slice(48));
  const own = new DPMSolverSDEScheduler({ ...LDM, noise_sampler_seed: 4 });
  t.strictSame(run(own, seeded(9)), run(scheduler, seeded(4)), "noise_sampler_seed seeds each run");
  t.strictSame(run(own, seeded(9)), run(own, seeded(10)));
  t.throws(() => new DPMSolverSDEScheduler({ noise_sampler_seed: -1 }), refused);
  scheduler.setTimesteps(3);
  t.throws(() => scheduler.step(noise(1), 999, noise(1), { generator: [Generator.fromSeed(1)] }), {
    code: "ERR_INVALID_ARGUMENT",
  });
});

t.test("a clone finishes the step that was begun with the same noise", async (t) => {
  for (const config of [LDM, { ...LDM, noise_sampler_seed: 3 }]) {
    const scheduler = scheduled(config, 3);
    const [first = 0, second = 0] = scheduler.timesteps;
    const half = scheduler.step(noise(1), first, noise(2), { generator: Generator.fromSeed(6) }).prevSample;
    const twin = scheduler.clone();
    const end = (one: DPMSolverSDEScheduler): number[] =>
      values(one.step(noise(1), second, half, { generator: Generator.fromSeed(7) }).prevSample);
    t.strictSame(end(twin), end(scheduler));
    twin.dispose();
    t.equal(twin.stateInFirstOrder, true);
  }
});

t.test("schedules, limits, and what is refused", async (t) => {
  const scheduler = scheduled(LDM, 4);
  t.equal(scheduler.timesteps.length, 7);
  t.equal(scheduler.order, 2);
  for (const count of [0, 1001])
    t.throws(() => scheduler.setTimesteps(count), { code: "ERR_INVALID_ARGUMENT", message: /1.*1000/ });
  t.throws(() => scheduler.setTimesteps(undefined, { sigmas: [9, 1] }), { code: "ERR_INVALID_ARGUMENT" });
  const sample = scheduled({ ...LDM, prediction_type: "sample" }, 3);
  t.throws(() => sample.checkSteps(), { ...refused, message: /prediction_type/ });
  const twice = scheduled({ ...LDM, timestep_spacing: "leading", steps_offset: 1 }, 1000);
  t.throws(() => twice.checkSteps(), { ...refused, message: /does not fall/ });
  t.throws(() => scheduler.step(noise(1), 999, noise(1), { sNoise: "1" as unknown as number }), {
    code: "ERR_INVALID_ARGUMENT",
    message: /sNoise/,
  });
  // A run of one step is Euler's, and draws nothing.
  const one = scheduled(LDM, 1);
  const again = one.clone();
  const [timestep = 0] = one.timesteps;
  t.strictSame(
    values(one.step(noise(1), timestep, noise(2)).prevSample),
    values(again.step(noise(1), timestep, noise(2)).prevSample),
  );
});
