import t from "tap";
import { DPMSolverMultistepScheduler } from "../../lib/schedulers/dpm-solver-multistep.js";

t.test("what diffusers cannot step with is refused", async (t) => {
  const refused = { code: "ERR_CONFIG_UNSUPPORTED" };
  t.throws(() => new DPMSolverMultistepScheduler({ algorithm_type: "dpmsolver" }), refused);
  const third = { algorithm_type: "sde-dpmsolver", final_sigmas_type: "sigma_min", solver_order: 3 } as const;
  t.throws(() => new DPMSolverMultistepScheduler(third), refused);
  t.throws(() => new DPMSolverMultistepScheduler({ use_flow_sigmas: true }), refused);
});
