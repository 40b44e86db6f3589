import t from "tap";
import { type UniPCMultistepConfigKeys, UniPCMultistepScheduler } from "../../lib/schedulers/unipc-multistep.js";

const LDM = { beta_schedule: "scaled_linear", beta_start: 0.0015, beta_end: 0.0195 } as const;

const refused = { code: "ERR_CONFIG_UNSUPPORTED" };

t.test("what diffusers makes NaN of is refused before a run", async (t) => {
  const broken: [Partial<UniPCMultistepConfigKeys>, RegExp][] = [
    [{ solver_type: "bh1" }, /bh1/],
    [{ predict_x0: false }, /predict_x0/],
    [{ lower_order_final: false }, /lower_order_final/],
    [
      { use_karras_sigmas: true, final_sigmas_type: "sigma_min", lower_order_final: false, solver_order: 3 },
      /does not fall/,
    ],
  ];
  for (const [config, message] of broken) {
    const scheduler = new UniPCMultistepScheduler({ ...LDM, ...config });
    scheduler.setTimesteps(10);
    t.throws(() => scheduler.checkSteps(), { ...refused, message }, JSON.stringify(config));
  }
  const dense = new UniPCMultistepScheduler({ ...LDM, use_karras_sigmas: true });
  dense.setTimesteps(1000);
  t.throws(() => dense.checkSteps(), { ...refused, message: /first two timesteps/ });
  const least = new UniPCMultistepScheduler({ ...LDM, predict_x0: false, final_sigmas_type: "sigma_min" });
  least.setTimesteps(10);
  least.checkSteps();
});

t.test("keys that this package does not run are refused, others' names are replaced", async (t) => {
  const bad: [string, unknown][] = [
    ["use_flow_sigmas", true],
    ["flow_shift", 3],
    ["use_dynamic_shifting", true],
    ["shift_terminal", 0.1],
    ["solver_p", { _class_name: "DDIMScheduler" }],
    ["solver_order", 0],
    ["disable_corrector", [-1]],
    ["prediction_type", "flow_prediction"],
  ];
  for (const [key, value] of bad) t.throws(() => new UniPCMultistepScheduler({ [key]: value }), refused, key);
  t.throws(() => new UniPCMultistepScheduler({ use_karras_sigmas: true, use_beta_sigmas: true }), refused);
  t.equal(UniPCMultistepScheduler.fromConfig({ solver_type: "midpoint" }).config.solver_type, "bh2");
});

t.test("a run takes no lists, and from 1 to num_train_timesteps steps", async (t) => {
  const scheduler = new UniPCMultistepScheduler({ ...LDM, num_train_timesteps: 100 });
  t.throws(() => scheduler.setTimesteps(undefined, { sigmas: [3, 1, 0] }), /sigmas/);
  for (const count of [0, 101]) t.throws(() => scheduler.setTimesteps(count), /from 1 to 100/);
});
