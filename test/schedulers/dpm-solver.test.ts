import t from "tap";
import { DPMSolverMultistepScheduler } from "../../lib/schedulers/dpm-solver-multistep.js";

t.test("what diffusers cannot step with is refused", async (t) => {
  const refused = { code: "ERR_CONFIG_UNSUPPORTED" };
  t.throws(() => new DPMSolverMultistepScheduler({ algorithm_type: "dpmsolver" }), refused);
  const third = { algorithm_type: "sde-dpmsolver", final_sigmas_type: "sigma_min", solver_order: 3 } as const;
  t.throws(() => new DPMSolverMultistepScheduler(third), refused);
  t.throws(() => new DPMSolverMultistepScheduler({ use_flow_sigmas: true }), refused);
});

t.test("a DDPM's variance_type says nothing here, a learned one is refused", async (t) => {
  t.equal(DPMSolverMultistepScheduler.fromConfig({ variance_type: "fixed_small" }).config.variance_type, "fixed_small");
  const learned = (): unknown => DPMSolverMultistepScheduler.fromConfig({ variance_type: "learned_range" });
  t.throws(learned, { code: "ERR_CONFIG_UNSUPPORTED", message: /variance_type/ });
});
