import { readdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { EulerAncestralDiscreteScheduler } from "../../lib/schedulers/euler-ancestral.js";
import { EulerDiscreteScheduler } from "../../lib/schedulers/euler.js";
import { HeunDiscreteScheduler } from "../../lib/schedulers/heun.js";
import { LMSDiscreteScheduler } from "../../lib/schedulers/lms.js";
import { Generator } from "../../lib/torch/generator.js";
import { Tensor } from "../../lib/torch/tensor.js";
import { replayRun } from "../support/scheduler-cases.js";

const FIXTURES = join(__dirname, "..", "fixtures", "schedulers");
const LDM = { beta_schedule: "scaled_linear", beta_start: 0.0015, beta_end: 0.0195 } as const;
const CLASSES = [EulerDiscreteScheduler, EulerAncestralDiscreteScheduler, HeunDiscreteScheduler, LMSDiscreteScheduler];

type Member = InstanceType<(typeof CLASSES)[number]>;

const values = (tensor: Tensor): number[] => Array.from(tensor.dataSync() as Float32Array);

for (const name of readdirSync(FIXTURES).filter((folder) => folder.startsWith("run-"))) {
  // Roots may round otherwise on another CPU.
  t.test(`diffusers' ${name}`, (t) => replayRun(t, join(FIXTURES, name), 1e-5));
}

/** Denoise N(0, deviation^2) with its exact network. */
function denoiseGaussian(
  scheduler: Member,
  start: readonly number[],
  deviation: number,
  generator?: Generator,
): number[] {
  let sample = Tensor.from(Float32Array.from(start), [1, start.length]);
  for (const timestep of scheduler.timesteps) {
    const scaled = values(scheduler.scaleModelInput(sample, timestep));
    const x = values(sample);
    const scale = (x[0] ?? NaN) / (scaled[0] ?? NaN);
    const sigma = Math.sqrt(scale * scale - 1);
    const epsilon = x.map((value) => (value * sigma) / (deviation ** 2 + sigma ** 2));
    const output = Tensor.from(Float32Array.from(epsilon), [1, x.length]);
    sample = scheduler.step(output, timestep, sample, generator ? { generator } : {}).prevSample;
  }
  return values(sample);
}

t.test("the solvers converge to the exact solution, each with its order", async (t) => {
  const slopes: [typeof EulerDiscreteScheduler | typeof HeunDiscreteScheduler, number, number][] = [
    [EulerDiscreteScheduler, 0.8, 1.3],
    [HeunDiscreteScheduler, 1.6, 2.6],
  ];
  for (const [Scheduler, least, most] of slopes) {
    const errors = [20, 40].map((steps) => {
      const scheduler = new Scheduler(LDM);
      scheduler.setTimesteps(steps);
      const largest = scheduler.initNoiseSigma;
      const exact = largest / Math.sqrt(1 + largest ** 2);
      return Math.abs((denoiseGaussian(scheduler, [largest], 1)[0] ?? NaN) - exact);
    });
    const slope = Math.log2((errors[0] ?? NaN) / (errors[1] ?? NaN));
    t.ok(slope > least && slope < most, `${Scheduler.kind.className}: order ${slope.toFixed(2)}`);
  }
});

t.test("every scheduler lands on the target's mean and variance", async (t) => {
  for (const Scheduler of CLASSES) {
    const scheduler = new Scheduler(LDM);
    scheduler.setTimesteps(50);
    using generator = Generator.fromSeed(4);
    const start = values(generator.randn([4096])).map((z) => z * scheduler.initNoiseSigma);
    const end = denoiseGaussian(scheduler, start, 1.5, generator);
    const mean = end.reduce((sum, x) => sum + x, 0) / end.length;
    const deviation = Math.sqrt(end.reduce((sum, x) => sum + (x - mean) ** 2, 0) / end.length);
    t.ok(
      Math.abs(mean) < 0.1 && Math.abs(deviation - 1.5) < 0.15,
      `${scheduler.className}: ${mean.toFixed(3)}, ${deviation.toFixed(3)}`,
    );
  }
});

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
