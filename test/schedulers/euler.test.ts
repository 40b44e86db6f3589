import t from "tap";
import { DDIMScheduler } from "../../lib/schedulers/ddim.js";
import { EulerDiscreteScheduler } from "../../lib/schedulers/euler.js";
import { schedulerFromConfig } from "../../lib/schedulers/known.js";
import { betaQuantile } from "../../lib/schedulers/shared/beta-quantile.js";
import { Generator } from "../../lib/torch/generator.js";
import { Tensor } from "../../lib/torch/tensor.js";

const LDM = { beta_schedule: "scaled_linear", beta_start: 0.0015, beta_end: 0.0195 } as const;
const SHAPE = [2, 3, 4, 4];

const values = (tensor: Tensor): number[] => Array.from(tensor.dataSync() as Float32Array);

function noise(seed: number): Tensor {
  using generator = Generator.fromSeed(seed);
  return generator.randn(SHAPE);
}

function scheduled(config: object, steps: number): EulerDiscreteScheduler {
  const scheduler = new EulerDiscreteScheduler(config);
  scheduler.setTimesteps(steps);
  return scheduler;
}

t.test("a point mass is reached: with the true noise, the run ends at the clean sample", async (t) => {
  const scheduler = scheduled(LDM, 7);
  const clean = values(noise(1));
  let sample = Tensor.from(
    Float32Array.from(values(noise(2)), (z, i) => (clean[i] ?? 0) + z * scheduler.initNoiseSigma),
    SHAPE,
  );
  for (const [i, timestep] of scheduler.timesteps.entries()) {
    const sigma = scheduler.sigmas[i] ?? NaN;
    const epsilon = Tensor.from(
      Float32Array.from(values(sample), (x, j) => (x - (clean[j] ?? 0)) / sigma),
      SHAPE,
    );
    sample = scheduler.step(epsilon, timestep, sample).prevSample;
  }
  t.ok(values(sample).every((value, i) => Math.abs(value - (clean[i] ?? NaN)) < 1e-4));
  t.equal(scheduler.stepIndex, 7);
  t.throws(() => scheduler.step(sample, 0, sample), { code: "ERR_INVALID_STATE", message: /all of its 7 steps/ });
});

t.test("schedules: counts, lists, and what is refused", async (t) => {
  t.strictSame(scheduled({}, 4).timesteps, [999, 666, 333, 0]);
  t.strictSame(scheduled({ timestep_spacing: "leading", steps_offset: 1 }, 4).timesteps, [751, 501, 251, 1]);
  const scheduler = new EulerDiscreteScheduler(LDM);
  t.equal(scheduler.timesteps.length, 1000);
  t.equal(scheduler.sigmas.length, 1001);
  scheduler.setTimesteps(undefined, { timesteps: [900, 100.5] });
  t.strictSame(scheduler.timesteps, [900, 100.5]);
  t.equal(scheduler.numInferenceSteps, 2);
  scheduler.setTimesteps(undefined, { sigmas: [5, 1, 0] });
  t.strictSame([...scheduler.sigmas], [5, 1, 0]);
  const refused: [number | undefined, object | undefined][] = [
    [undefined, undefined],
    [3, { timesteps: [1] }],
    [undefined, { timesteps: [1], sigmas: [1, 0] }],
    [undefined, { timesteps: [1, 2] }],
    [undefined, { sigmas: [1, 2] }],
    [undefined, { sigma: [1, 0] }],
    [0, undefined],
    [1001, undefined],
  ];
  for (const [count, lists] of refused)
    t.throws(
      () => scheduler.setTimesteps(count, lists),
      { code: "ERR_INVALID_ARGUMENT" },
      JSON.stringify([count, lists]),
    );
  const karras = new EulerDiscreteScheduler({ use_karras_sigmas: true });
  t.throws(() => karras.setTimesteps(undefined, { timesteps: [9, 1] }), { code: "ERR_CONFIG_UNSUPPORTED" });
  t.throws(() => new EulerDiscreteScheduler({ use_karras_sigmas: true, use_beta_sigmas: true }), {
    code: "ERR_CONFIG_UNSUPPORTED",
    message: /karras and beta/,
  });
  t.throws(() => scheduled({ beta_start: 0 }, 3).checkSteps(), { code: "ERR_CONFIG_UNSUPPORTED", message: /no noise/ });
  t.throws(() => scheduled({ beta_end: 2 }, 3).checkSteps(), { code: "ERR_CONFIG_UNSUPPORTED" });
  t.throws(() => scheduled(LDM, 3).step(noise(1), 5, noise(2)), { message: /one of scheduler.timesteps for timestep/ });
});

t.test("a run may begin in the middle, and a clone goes on from there", async (t) => {
  const scheduler = scheduled(LDM, 5);
  const [output, sample] = [noise(1), noise(2)];
  const at = scheduler.timesteps[2] ?? 0;
  scheduler.setBeginIndex(2);
  const noised = values(scheduler.addNoise(sample, output, at));
  const sigma = scheduler.sigmas[2] ?? NaN;
  t.ok(
    noised.every((value, i) => Math.abs(value - (values(sample)[i] ?? 0) - sigma * (values(output)[i] ?? 0)) < 1e-4),
  );
  scheduler.step(output, at, sample);
  t.equal(scheduler.stepIndex, 3);
  const twin = scheduler.clone();
  const next = scheduler.timesteps[3] ?? 0;
  t.strictSame(
    values(twin.step(output, next, sample).prevSample),
    values(scheduler.step(output, next, sample).prevSample),
  );
  twin.setTimesteps(2);
  t.equal(scheduler.numInferenceSteps, 5);
  t.equal(twin.stepIndex, undefined);
});

t.test("fromConfig both ways with DDIM: defaults give way, what was set stays", async (t) => {
  const euler = EulerDiscreteScheduler.fromConfig(new DDIMScheduler(LDM).config);
  t.equal(euler.config.timestep_spacing, "linspace");
  t.equal(euler.config.beta_end, 0.0195);
  const explicit = EulerDiscreteScheduler.fromConfig(
    new DDIMScheduler({ timestep_spacing: "leading", clip_sample: false }).config,
  );
  t.equal(explicit.config.timestep_spacing, "leading");
  t.equal(explicit.config.clip_sample, false, "a key of DDIM's is kept");
  const back = DDIMScheduler.fromConfig(explicit.config);
  t.equal(back.config.clip_sample, false);
  t.equal(back.config.timestep_spacing, "leading");
  t.type(schedulerFromConfig({ ...euler.config, _class_name: "EulerDiscreteScheduler" }), EulerDiscreteScheduler);
  t.ok(EulerDiscreteScheduler.compatibles.includes("DDIMScheduler"));
  t.throws(() => schedulerFromConfig({ _class_name: "EDMEulerScheduler" }), { message: /EDM/ });
  const folder = t.testdir({});
  await euler.savePretrained(folder);
  t.strictSame((await EulerDiscreteScheduler.fromPretrained(folder)).config.beta_end, 0.0195);
  t.equal((await DDIMScheduler.fromPretrained(folder)).config.timestep_spacing, "linspace", "a file's keys are set");
});

t.test("quantiles of the beta distribution", async (t) => {
  // scipy.stats.beta.ppf(p, 0.6, 0.6)
  t.ok(Math.abs(betaQuantile(0.5, 0.6, 0.6) - 0.5) < 1e-14);
  for (const p of [1e-6, 0.1, 0.3, 0.7, 0.99])
    t.ok(Math.abs(betaQuantile(p, 0.6, 0.6) + betaQuantile(1 - p, 0.6, 0.6) - 1) < 1e-12, `symmetric at ${p}`);
  // The arcsine distribution has a closed form.
  for (const p of [1e-6, 0.01, 0.2, 0.6, 0.999])
    t.ok(Math.abs(betaQuantile(p, 0.5, 0.5) - Math.sin((Math.PI * p) / 2) ** 2) < 1e-14, `arcsine at ${p}`);
});
