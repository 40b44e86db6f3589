import t from "tap";
import { PNDMScheduler } from "../../lib/schedulers/pndm.js";
import { Tensor } from "../../lib/torch/tensor.js";

const LDM = { beta_schedule: "scaled_linear", beta_start: 0.0015, beta_end: 0.0195 } as const;

const first = (tensor: Tensor): number => (tensor.dataSync() as Float32Array)[0] ?? NaN;

t.test("PNDM takes a Gaussian's sample to where the exact flow takes it", async (t) => {
  for (const skips of [false, true]) {
    const scheduler = new PNDMScheduler({ ...LDM, skip_prk_steps: skips });
    scheduler.setTimesteps(50);
    const alphas = scheduler.alphasCumprod;
    const variance = (timestep: number): number => (alphas[timestep] ?? NaN) * 1.5 ** 2 + 1 - (alphas[timestep] ?? NaN);
    let sample = Tensor.from(Float32Array.of(1), [1, 1]);
    for (const timestep of scheduler.timesteps) {
      const scale = Math.sqrt(1 - (alphas[timestep] ?? NaN)) / variance(timestep);
      const output = Tensor.from(Float32Array.of(first(sample) * scale), [1, 1]);
      const { prevSample } = scheduler.step(output, timestep, sample);
      output.dispose();
      sample.dispose();
      sample = prevSample;
    }
    const exact = Math.sqrt(variance(0) / variance(scheduler.timesteps[0] ?? NaN));
    t.ok(Math.abs(first(sample) - exact) < 0.02, `skip_prk_steps ${skips}: ${first(sample)}, exactly ${exact}`);
    scheduler.dispose();
  }
});

t.test("PNDM names the least number of steps", async (t) => {
  t.throws(() => new PNDMScheduler().setTimesteps(3), { code: "ERR_CONFIG_UNSUPPORTED", message: /4 steps or more/ });
  new PNDMScheduler({ skip_prk_steps: true }).setTimesteps(1);
});
