import t from "tap";
import { DDIMScheduler } from "../../lib/schedulers/ddim.js";
import { DPMSolverMultistepScheduler } from "../../lib/schedulers/dpm-solver-multistep.js";
import { DPMSolverSinglestepScheduler } from "../../lib/schedulers/dpm-solver-singlestep.js";
import { Generator } from "../../lib/torch/generator.js";
import type { Tensor } from "../../lib/torch/tensor.js";

const LDM = { beta_schedule: "scaled_linear", beta_start: 0.0015, beta_end: 0.0195 } as const;
const refused = { code: "ERR_CONFIG_UNSUPPORTED" };

const values = (tensor: Tensor): number[] => Array.from(tensor.dataSync() as Float32Array);

function noise(seed: number): Tensor {
  using generator = Generator.fromSeed(seed);
  return generator.randn([2, 3, 4, 4]);
}

function scheduled(config: object, steps: number): DPMSolverSinglestepScheduler {
  const scheduler = new DPMSolverSinglestepScheduler(config);
  scheduler.setTimesteps(steps);
  return scheduler;
}

t.test("blocks of as many steps as the order; how the last one ends", async (t) => {
  const orders = (config: object, steps: number): string => scheduled(config, steps).orderList.join("");
  const rests = { final_sigmas_type: "sigma_min" };
  t.equal(orders({}, 6), "121211");
  t.equal(orders({}, 5), "12121");
  t.equal(orders(rests, 6), "121212");
  t.equal(orders({ ...rests, lower_order_final: true }, 6), "121211");
  t.equal(orders({ solver_order: 3 }, 6), "123121");
  t.equal(orders({ solver_order: 3 }, 2), "11");
  t.equal(orders({ ...rests, solver_order: 3 }, 6), "123123");
  t.equal(orders({ ...rests, solver_order: 3 }, 8), "12312312");
  t.equal(orders({ solver_order: 1 }, 3), "111");
  const scheduler = scheduled(rests, 5);
  t.equal(scheduler.config.lower_order_final, false, "the config stays as it was written");
});

t.test("a spacing of another class's config has no effect, as in diffusers", async (t) => {
  const from = new DDIMScheduler({ ...LDM, timestep_spacing: "leading", steps_offset: 1 });
  const scheduler = DPMSolverSinglestepScheduler.fromConfig(from.config);
  scheduler.setTimesteps(4);
  t.strictSame(scheduler.timesteps, scheduled(LDM, 4).timesteps);
  t.equal(scheduler.config.timestep_spacing, "leading", "the key is kept");
  t.equal(scheduler.initNoiseSigma, 1);
  t.equal("timestep_spacing" in scheduled(LDM, 4).config, false);
});

t.test("with order 1 the multistep solver is the same", async (t) => {
  const single = scheduled({ ...LDM, solver_order: 1 }, 5);
  const multi = new DPMSolverMultistepScheduler({ ...LDM, solver_order: 1 });
  multi.setTimesteps(5);
  let sample = noise(1);
  for (const timestep of single.timesteps) {
    const next = single.step(noise(2), timestep, sample).prevSample;
    t.strictSame(values(next), values(multi.step(noise(2), timestep, sample).prevSample));
    sample = next;
  }
});

t.test("clones go on in the middle of a block, and a new schedule forgets it", async (t) => {
  const scheduler = scheduled({ ...LDM, solver_order: 3 }, 7);
  const [output, sample] = [noise(1), noise(2)];
  const [first = 0, second = 0, third = 0] = scheduler.timesteps;
  const one = scheduler.step(output, first, sample).prevSample;
  const two = scheduler.step(output, second, one).prevSample;
  const twin = scheduler.clone();
  t.strictSame(values(twin.step(output, third, two).prevSample), values(scheduler.step(output, third, two).prevSample));
  twin.setTimesteps(7);
  t.strictSame(values(twin.step(output, first, sample).prevSample), values(one));
});

t.test("a run that begins in the middle of a block begins with order 1", async (t) => {
  const scheduler = scheduled({ ...LDM, solver_order: 3 }, 9);
  scheduler.setBeginIndex(2);
  const first = scheduled({ ...LDM, solver_order: 1 }, 9);
  first.setBeginIndex(2);
  const at = scheduler.timesteps[2] ?? 0;
  t.strictSame(
    values(scheduler.step(noise(1), at, noise(2)).prevSample),
    values(first.step(noise(1), at, noise(2)).prevSample),
  );
});

t.test("what diffusers cannot step with is refused", async (t) => {
  t.throws(() => new DPMSolverSinglestepScheduler({ algorithm_type: "dpmsolver" }), refused);
  t.throws(() => new DPMSolverSinglestepScheduler({ algorithm_type: "sde-dpmsolver" as "dpmsolver" }), refused);
  t.throws(() => new DPMSolverSinglestepScheduler({ use_flow_sigmas: true }), refused);
  t.throws(() => new DPMSolverSinglestepScheduler({ solver_order: 4 }), refused);
  const ends = { algorithm_type: "dpmsolver", final_sigmas_type: "sigma_min" } as const;
  t.throws(() => scheduled({ ...ends, thresholding: true }, 4).checkSteps(), { ...refused, message: /thresholding/ });
  t.doesNotThrow(() => scheduled(ends, 4).checkSteps());
  const third = { ...LDM, solver_order: 3 };
  t.doesNotThrow(() => scheduled(third, 1000).checkSteps(), "which diffusers steps through too");
  t.throws(() => scheduled({ ...third, solver_type: "heun" }, 1000).checkSteps(), {
    ...refused,
    message: /take fewer steps/,
  });
  t.throws(() => scheduled({ beta_start: 0, ...ends }, 9).checkSteps(), { ...refused, message: /falls to 0/ });
  for (const count of [0, 1001])
    t.throws(() => scheduled(LDM, count), { code: "ERR_INVALID_ARGUMENT", message: /1.*1000/ });
  const karras = new DPMSolverSinglestepScheduler({ use_karras_sigmas: true });
  t.throws(() => karras.setTimesteps(undefined, { timesteps: [9, 1] }), refused);
  t.equal(DPMSolverSinglestepScheduler.fromConfig({ algorithm_type: "deis" }).config.algorithm_type, "dpmsolver++");
});
