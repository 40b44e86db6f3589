import t from "tap";
import { DDPMScheduler } from "../../lib/schedulers/ddpm.js";
import { Generator } from "../../lib/torch/generator.js";
import { Tensor } from "../../lib/torch/tensor.js";

const LDM = { beta_schedule: "scaled_linear", beta_start: 0.0015, beta_end: 0.0195, clip_sample: false } as const;

const values = (tensor: Tensor): number[] => Array.from(tensor.dataSync() as Float32Array);

t.test("DDPM lands on a Gaussian target's mean and variance", async (t) => {
  const scheduler = new DDPMScheduler(LDM);
  scheduler.setTimesteps(250);
  const alphas = scheduler.alphasCumprod;
  using generator = Generator.fromSeed(4);
  let sample = generator.randn([1, 4096]);
  for (const timestep of scheduler.timesteps) {
    const alpha = alphas[timestep] ?? NaN;
    // The exact network of N(0, 1.5^2).
    const scale = Math.sqrt(1 - alpha) / (alpha * 1.5 ** 2 + 1 - alpha);
    const output = Tensor.from(
      Float32Array.from(values(sample), (x) => x * scale),
      [1, 4096],
    );
    sample = scheduler.step(output, timestep, sample, { generator }).prevSample;
  }
  const end = values(sample);
  const mean = end.reduce((sum, x) => sum + x, 0) / end.length;
  const deviation = Math.sqrt(end.reduce((sum, x) => sum + (x - mean) ** 2, 0) / end.length);
  t.ok(Math.abs(mean) < 0.1 && Math.abs(deviation - 1.5) < 0.15, `${mean.toFixed(3)}, ${deviation.toFixed(3)}`);
});

t.test("DDPM refuses what diffusers makes NaN of", async (t) => {
  for (const variance of ["fixed_large_log", "learned", "learned_range"])
    t.throws(() => DDPMScheduler.fromConfig({ variance_type: variance }), {
      code: "ERR_CONFIG_UNSUPPORTED",
      message: /variance_type/,
    });
  const scheduler = new DDPMScheduler({ ...LDM, rescale_betas_zero_snr: true, timestep_spacing: "trailing" });
  scheduler.setTimesteps(5);
  t.throws(() => scheduler.checkSteps(), { code: "ERR_CONFIG_UNSUPPORTED", message: /timestep 999/ });
  t.throws(() => scheduler.setTimesteps(undefined, { timesteps: [1000, 3] }), { code: "ERR_INVALID_ARGUMENT" });
});
