import t from "tap";
import { type DDIMInverseConfigKeys, DDIMInverseScheduler } from "../../lib/schedulers/ddim-inverse.js";
import { DDIMScheduler } from "../../lib/schedulers/ddim.js";
import { Tensor } from "../../lib/torch/tensor.js";

const LDM = { beta_schedule: "scaled_linear", beta_start: 0.0015, beta_end: 0.0195, clip_sample: false } as const;

const refused = { code: "ERR_CONFIG_UNSUPPORTED" };

t.test("DDIM takes the noise back to the sample that it was made of", async (t) => {
  const [inverse, forward] = [new DDIMInverseScheduler(LDM), new DDIMScheduler({ ...LDM, set_alpha_to_one: false })];
  const alphas = inverse.alphasCumprod;
  const start = [0.3, -1, 2, 0.5];
  let sample = Tensor.from(Float32Array.from(start), [1, 4]);
  for (const scheduler of [inverse, forward]) {
    scheduler.setTimesteps(200);
    scheduler.checkSteps();
    for (const timestep of scheduler.timesteps) {
      // The exact network of N(0, 1.5^2).
      const alpha = alphas[timestep] ?? NaN;
      const scale = Math.sqrt(1 - alpha) / (alpha * 1.5 ** 2 + 1 - alpha);
      const output = Tensor.from(
        Float32Array.from(sample.dataSync(), (x) => x * scale),
        [1, 4],
      );
      sample = scheduler.step(output, timestep, sample).prevSample;
    }
    const largest = Math.max(...Array.from(sample.dataSync(), Math.abs));
    if (scheduler === inverse) t.ok(largest < 1.5, `a sample of 2 became noise of ${largest}: 2 / 1.5`);
  }
  for (const [i, x] of sample.dataSync().entries())
    t.ok(Math.abs(x - (start[i] ?? NaN)) < 0.03 * Math.abs(start[i] ?? NaN), `${start[i]}: ${x}`);
});

t.test("what diffusers makes NaN of, or an IndexError, is refused before a run", async (t) => {
  const broken: [Partial<DDIMInverseConfigKeys>, RegExp][] = [
    [{ prediction_type: "sample" }, /set_alpha_to_one/],
    [{ trained_betas: [0.1, 0.2] }, /2 values only/],
    [{ beta_end: 3, beta_schedule: "linear" }, /betas are too large/],
    [{ timestep_spacing: "linspace" }, /timestep_spacing/],
    [{ steps_offset: 999 }, /outside 0 to 999/],
  ];
  for (const [config, message] of broken) {
    const scheduler = new DDIMInverseScheduler({ ...LDM, ...config });
    const start = (): void => {
      scheduler.setTimesteps(10);
      scheduler.checkSteps();
    };
    t.throws(start, { ...refused, message }, JSON.stringify(config));
  }
  t.throws(() => DDIMInverseScheduler.fromConfig({ set_alpha_to_zero: false }), {
    ...refused,
    message: /alpha_to_one/,
  });
  t.throws(() => new DDIMInverseScheduler().setTimesteps(1001), /from 1 to 1000/);
});
