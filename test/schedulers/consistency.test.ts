import t from "tap";
import { LCMScheduler } from "../../lib/schedulers/lcm.js";
import { TCDScheduler } from "../../lib/schedulers/tcd.js";
import { Generator } from "../../lib/torch/generator.js";

const refused = { code: "ERR_CONFIG_UNSUPPORTED" };
const invalid = { code: "ERR_INVALID_ARGUMENT" };

for (const Scheduler of [TCDScheduler, LCMScheduler]) {
  const name = Scheduler.kind.className;

  t.test(`${name} names the most steps, in every way that a schedule is made`, async (t) => {
    const scheduler = new Scheduler();
    t.throws(() => scheduler.setTimesteps(51), { ...invalid, message: /from 1 to 50 for numInferenceSteps/ });
    t.throws(() => scheduler.setTimesteps(0), { ...invalid, message: /from 1 to/ });
    t.throws(() => scheduler.setTimesteps(8, { strength: 0.1 }), { ...invalid, message: /from 1 to 5 / });
    t.throws(() => scheduler.setTimesteps(8, { originalInferenceSteps: 7 }), { ...invalid, message: /from 1 to 7 / });
    t.throws(() => scheduler.setTimesteps(8, { originalInferenceSteps: 1001 }), invalid);
    t.throws(() => scheduler.setTimesteps(undefined, { timesteps: [9, 5], strength: 0.5 }), invalid);
    t.throws(() => scheduler.setTimesteps(undefined, { timesteps: [1000] }), { ...invalid, message: /timesteps\[0\]/ });
    t.throws(() => scheduler.setTimesteps(undefined, { strength: 0.5 }), /numInferenceSteps, timesteps for/);
    scheduler.setTimesteps(undefined, { timesteps: [900, 40] });
    t.strictSame([900, 40, -1], [900, ...[900, 40].map((timestep) => scheduler.previousTimestep(timestep))]);
    const short = new Scheduler({ num_train_timesteps: 20 });
    t.throws(() => short.setTimesteps(3), { ...refused, message: /original_inference_steps of at most/ });
    short.setTimesteps(20, { originalInferenceSteps: 20 });
  });

  t.test(`${name} refuses a run that would divide by nothing`, async (t) => {
    const scheduler = new Scheduler({ rescale_betas_zero_snr: true });
    scheduler.setTimesteps(4);
    t.throws(() => scheduler.checkSteps(), { ...refused, message: /zero terminal SNR/ });
    const betas = new Scheduler({ beta_end: 2, beta_schedule: "linear" });
    betas.setTimesteps(4);
    t.throws(() => betas.checkSteps(), refused);
    const few = new Scheduler({ trained_betas: [0.1, 0.2] });
    few.setTimesteps(4);
    t.throws(() => few.checkSteps(), { ...refused, message: /2 values only/ });
  });

  t.test(`${name} returns handles that are freed one by one`, async (t) => {
    const scheduler = new Scheduler();
    scheduler.setTimesteps(1);
    using generator = Generator.fromSeed(1);
    const [output, sample] = [generator.randn([1, 3, 2, 2]), generator.randn([1, 3, 2, 2])];
    const { prevSample, ...others } = scheduler.step(output, scheduler.timesteps[0] ?? NaN, sample, { generator });
    for (const other of Object.values(others)) other.dispose();
    t.ok(prevSample.dataSync().every(Number.isFinite));
  });
}

t.test("eta 0 draws nothing, eta above 0 does", async (t) => {
  const scheduler = new TCDScheduler();
  scheduler.setTimesteps(3);
  using generator = Generator.fromSeed(1);
  const [output, sample] = [generator.randn([1, 3, 2, 2]), generator.randn([1, 3, 2, 2])];
  const [first = NaN, second = NaN] = scheduler.timesteps;
  const before = generator.getState();
  t.throws(() => scheduler.checkSteps({ eta: 2 }), invalid);
  scheduler.step(output, first, sample, { eta: 0, generator });
  t.strictSame(generator.getState(), before);
  scheduler.step(output, second, sample, { eta: 0.5, generator });
  t.notSame(generator.getState(), before);
});
