import t from "tap";
import { DPMSolverMultistepScheduler } from "../../lib/schedulers/dpm-solver-multistep.js";
import { Tensor } from "../../lib/torch/tensor.js";

const LDM = { beta_schedule: "scaled_linear", beta_start: 0.0015, beta_end: 0.0195 } as const;

/** Denoise one sample of N(0, 1.5^2) by the exact network, and return how far it is from the ODE's exact solution. */
function errorOf(order: number, steps: number): number {
  const scheduler = new DPMSolverMultistepScheduler({ ...LDM, solver_order: order, use_lu_lambdas: true });
  scheduler.setTimesteps(steps);
  const { sigmas } = scheduler;
  const deviation = (sigma: number): number => Math.sqrt((1.5 ** 2 + sigma ** 2) / (1 + sigma ** 2));
  let sample = Tensor.from(Float32Array.of(1), [1, 1]);
  for (const [i, timestep] of scheduler.timesteps.entries()) {
    const sigma = sigmas[i] ?? NaN;
    const scale = sigma / Math.sqrt(1 + sigma ** 2) / deviation(sigma) ** 2;
    const output = Tensor.from(Float32Array.of(Number(sample.dataSync()[0]) * scale), [1, 1]);
    sample = scheduler.step(output, timestep, sample).prevSample;
  }
  scheduler.dispose();
  return Math.abs(Number(sample.dataSync()[0]) - 1.5 / deviation(sigmas[0] ?? NaN));
}

t.test("more steps and a higher order come closer to the exact solution", async (t) => {
  const [first, second] = [errorOf(1, 40), errorOf(2, 40)];
  t.ok(first < 0.1 && first < errorOf(1, 20), `order 1: ${first}`);
  t.ok(second < first, `order 2: ${second}`);
});

t.test("what diffusers cannot step with is refused", async (t) => {
  const refused = { code: "ERR_CONFIG_UNSUPPORTED" };
  t.throws(() => new DPMSolverMultistepScheduler({ algorithm_type: "dpmsolver" }), refused);
  const third = { algorithm_type: "sde-dpmsolver", final_sigmas_type: "sigma_min", solver_order: 3 } as const;
  t.throws(() => new DPMSolverMultistepScheduler(third), refused);
  t.throws(() => new DPMSolverMultistepScheduler({ use_flow_sigmas: true }), refused);
});
