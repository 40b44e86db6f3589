import t from "tap";
import { DEISMultistepScheduler } from "../../lib/schedulers/deis-multistep.js";

const LDM = { beta_schedule: "scaled_linear", beta_start: 0.0015, beta_end: 0.0195 } as const;

const refused = { code: "ERR_CONFIG_UNSUPPORTED" };

t.test("what diffusers makes NaN of is refused before a run", async (t) => {
  const silent = new DEISMultistepScheduler({ ...LDM, beta_start: 0 });
  silent.setTimesteps(10);
  t.throws(() => silent.checkSteps(), { ...refused, message: /noise of timestep 0/ });
  const twice = new DEISMultistepScheduler({ ...LDM, use_karras_sigmas: true });
  twice.setTimesteps(1000);
  t.throws(() => twice.checkSteps(), { ...refused, message: /first two timesteps/ });
  const level = new DEISMultistepScheduler({
    num_train_timesteps: 4,
    trained_betas: [0.1, 0.1, 0, 0.1],
    lower_order_final: false,
  });
  level.setTimesteps(3);
  t.throws(() => level.checkSteps(), { ...refused, message: /step before/ });
});

t.test("keys that this package does not run are refused, others' names are replaced", async (t) => {
  const bad: [string, unknown][] = [
    ["use_flow_sigmas", true],
    ["flow_shift", 3],
    ["use_dynamic_shifting", true],
    ["solver_order", 4],
    ["algorithm_type", "sde-dpmsolver++"],
    ["prediction_type", "flow_prediction"],
  ];
  for (const [key, value] of bad) t.throws(() => new DEISMultistepScheduler({ [key]: value }), refused, key);
  const { config } = DEISMultistepScheduler.fromConfig({ solver_type: "heun", algorithm_type: "dpmsolver++" });
  t.match(config, { solver_type: "logrho", algorithm_type: "deis" });
});

t.test("a run takes no lists, and from 1 to num_train_timesteps steps", async (t) => {
  const scheduler = new DEISMultistepScheduler({ ...LDM, num_train_timesteps: 100 });
  t.throws(() => scheduler.setTimesteps(undefined, { timesteps: [3, 1] }), /timesteps/);
  for (const count of [0, 101]) t.throws(() => scheduler.setTimesteps(count), /from 1 to 100/);
});
