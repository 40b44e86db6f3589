import t from "tap";
import type { JsonObject } from "../../lib/files/json.js";
import type { StepOptions } from "../../lib/schedulers/contract.js";
import { schedulerClassNames } from "../../lib/schedulers/known.js";
import { Generator } from "../../lib/torch/generator.js";
import { decay, denoise, scheduled, type State } from "../support/gaussian.js";

// LCM forgets what it had at each step, and is right for networks that were distilled for that; DDIMInverse goes from the data to noise.
const ELSEWHERE = ["LCMScheduler", "DDIMInverseScheduler"];

for (const className of schedulerClassNames().filter((name) => !ELSEWHERE.includes(name))) {
  t.test(`${className} lands on the mean and the variance of the data`, async (t) => {
    const scheduler = scheduled(className, {}, 50);
    scheduler.checkSteps({});
    using generator = Generator.fromSeed(4);
    const noise = Array.from(generator.randn([4096]).dataSync() as Float32Array);
    // The default eta of TCD is for distilled networks too.
    const options = className === "TCDScheduler" ? { eta: 0, generator } : { generator };
    const end = denoise(scheduler, { mean: 0.5, deviation: 1.5 }, noise, options).at(-1)?.values ?? [];
    const mean = end.reduce((sum, x) => sum + x, 0) / end.length;
    const deviation = Math.sqrt(end.reduce((sum, x) => sum + (x - mean) ** 2, 0) / end.length);
    t.ok(Math.abs(mean - 0.5) < 0.1, `mean ${mean.toFixed(3)} for 0.5`);
    t.ok(Math.abs(deviation - 1.5) < 0.1, `deviation ${deviation.toFixed(3)} for 1.5`);
  });
}

/** A solver, the numbers of steps between which its error is compared, and the order that the error falls with. */
interface Solver {
  readonly name: string;
  readonly config?: JsonObject;
  /** The order of the paper, unless `why` says what else. */
  readonly order: number;
  readonly why?: string;
  readonly steps?: readonly [number, number];
  /** Where the error is taken: at this timestep, or before the last step. */
  readonly timestep?: number;
  readonly tau?: number;
  readonly options?: StepOptions;
}

const EVEN = { use_exponential_sigmas: true };
const KEPT = { ...EVEN, lower_order_final: false };
// The last two levels are the same then; the error is taken before the last step.
const NOISE = { ...KEPT, algorithm_type: "dpmsolver", final_sigmas_type: "sigma_min" };
const MULTI = "DPMSolverMultistepScheduler";
const SINGLE = "DPMSolverSinglestepScheduler";
const UNIPC = "UniPCMultistepScheduler";
const DEIS = "DEISMultistepScheduler";
const SA = "SASolverScheduler";
const TIMES = { timestep: 500, steps: [50, 100] } as const;
const NO_TWO = "D2 lacks a factor of 2 in diffusers";

const SOLVERS: readonly Solver[] = [
  { name: "DDIMScheduler", order: 1, ...TIMES },
  { name: "TCDScheduler", order: 1, timestep: 500, steps: [10, 50], options: { eta: 0 } },
  { name: "PNDMScheduler", order: 2, ...TIMES },
  { name: "PNDMScheduler", config: { skip_prk_steps: true }, order: 2, ...TIMES },
  { name: "EulerDiscreteScheduler", config: EVEN, order: 1 },
  { name: "HeunDiscreteScheduler", config: EVEN, order: 2 },
  { name: "KDPM2DiscreteScheduler", config: EVEN, order: 2 },
  { name: "LMSDiscreteScheduler", config: EVEN, order: 4, steps: [48, 96] },
  { name: MULTI, config: { ...KEPT, solver_order: 1 }, order: 1 },
  { name: MULTI, config: { ...KEPT, solver_order: 2 }, order: 2 },
  { name: MULTI, config: { ...KEPT, solver_order: 2, solver_type: "heun" }, order: 2 },
  { name: MULTI, config: { ...KEPT, solver_order: 3 }, order: 2, why: NO_TWO, steps: [48, 96] },
  { name: MULTI, config: { ...NOISE, solver_order: 1 }, order: 1 },
  { name: MULTI, config: { ...NOISE, solver_order: 2 }, order: 2 },
  { name: MULTI, config: { ...NOISE, solver_order: 3 }, order: 2, why: NO_TWO, steps: [48, 96] },
  { name: SINGLE, config: { ...EVEN, solver_order: 1 }, order: 1 },
  { name: SINGLE, config: { ...EVEN, solver_order: 2 }, order: 2 },
  { name: SINGLE, config: { ...EVEN, solver_order: 3 }, order: 3 },
  { name: SINGLE, config: { ...EVEN, solver_order: 3, solver_type: "heun" }, order: 3, steps: [48, 96] },
  { name: SINGLE, config: { ...NOISE, solver_order: 3 }, order: 3, steps: [48, 96] },
  { name: DEIS, config: { ...KEPT, solver_order: 1 }, order: 1 },
  { name: DEIS, config: { ...KEPT, solver_order: 2 }, order: 2 },
  { name: UNIPC, config: { ...KEPT, final_sigmas_type: "sigma_min", solver_order: 1 }, order: 2 },
  { name: UNIPC, config: { ...KEPT, final_sigmas_type: "sigma_min", solver_order: 2 }, order: 3 },
  { name: UNIPC, config: { ...KEPT, final_sigmas_type: "sigma_min", solver_order: 3 }, order: 4, steps: [48, 96] },
  { name: SA, config: { ...KEPT, predictor_order: 1, corrector_order: 1 }, tau: 0, order: 1, steps: [48, 96] },
  { name: SA, config: { ...KEPT, predictor_order: 2, corrector_order: 2 }, tau: 0, order: 2, steps: [48, 96] },
];

/** The last state with noise that a whole step begins with, or the one at a timestep. */
function stateOf(states: readonly State[], { timestep: wanted, config }: Solver): State {
  const whole = states.filter(({ timestep, level }) => timestep !== undefined && level > 0);
  const found =
    wanted === undefined
      ? config === NOISE
        ? whole.at(-2)
        : whole.at(-1)
      : whole.find(({ timestep = Infinity }) => timestep <= wanted);
  return found ?? { level: NaN, values: [] };
}

/** The relative error of a deterministic solver. */
function errorOf(solver: Solver, steps: number): number {
  const { name, config = {}, tau, options } = solver;
  const scheduler = scheduled(name, config, steps, tau);
  const states = denoise(scheduler, { mean: 0, deviation: 0.4 }, [1], options);
  const [first] = states;
  const { level, values } = stateOf(states, solver);
  const exact = (first?.values[0] ?? NaN) * decay(0.4, first?.level ?? NaN, level);
  return Math.abs((values[0] ?? NaN) / exact - 1);
}

for (const solver of SOLVERS) {
  const { name, config, order, why, steps: [few, many] = [24, 48] } = solver;
  t.test(`${name} ${JSON.stringify(config ?? {})} converges with order ${order}${why ? `: ${why}` : ""}`, async (t) => {
    const errors = [few, many].map((steps) => errorOf(solver, steps)) as [number, number];
    const slope = Math.log(errors[0] / errors[1]) / Math.log(many / few);
    const shown = errors.map((error) => error.toExponential(1)).join(", ");
    t.ok(Math.abs(slope - order) < 0.35, `order ${slope.toFixed(2)}, errors ${shown} at ${few} and ${many} steps`);
  });
}

/** Along an SDE: the relative error of what a difference between two first samples becomes, with the same noise. */
function meanErrorOf({ name, config = {}, tau }: Solver, steps: number): number {
  const run = (start: number): State[] => {
    using generator = Generator.fromSeed(3);
    const scheduler = scheduled(name, config, steps, tau);
    return denoise(scheduler, { mean: 0, deviation: 0.4 }, [start], { generator });
  };
  const [one, two] = [run(1), run(2)];
  const at = one.findLastIndex(({ timestep, level }) => timestep !== undefined && level > 0);
  const difference = (i: number): number => (two[i]?.values[0] ?? NaN) - (one[i]?.values[0] ?? NaN);
  const exact = decay(0.4, one[0]?.level ?? NaN, one[at]?.level ?? NaN) ** 2;
  return Math.abs(difference(at) / difference(0) / exact - 1);
}

const EXACT: readonly Solver[] = [
  { name: "DDPMScheduler", order: 0 },
  { name: "EulerAncestralDiscreteScheduler", order: 0 },
  { name: "DPMSolverSDEScheduler", config: EVEN, order: 0 },
  ...[1, 2, 3].flatMap((solver_order) => {
    const config = { ...KEPT, algorithm_type: "sde-dpmsolver++", solver_order };
    return [
      { name: MULTI, config, order: 0 },
      { name: SINGLE, config, order: 0 },
    ];
  }),
  { name: SA, config: { ...KEPT, predictor_order: 2, corrector_order: 2 }, tau: 1, order: 0 },
];

for (const solver of EXACT)
  t.test(
    `${solver.name} ${JSON.stringify(solver.config ?? {})}: the mean is exact at any number of steps`,
    async (t) => {
      for (const steps of [10, 20]) {
        const error = meanErrorOf(solver, steps);
        t.ok(error < 1e-4, `${error.toExponential(1)} at ${steps} steps`);
      }
    },
  );

const ALONG_SDE: readonly Solver[] = [
  { name: "KDPM2AncestralDiscreteScheduler", config: EVEN, order: 1, steps: [96, 192] },
  { name: MULTI, config: { ...NOISE, algorithm_type: "sde-dpmsolver", solver_order: 1 }, order: 1, steps: [96, 192] },
  { name: MULTI, config: { ...NOISE, algorithm_type: "sde-dpmsolver", solver_order: 2 }, order: 2, steps: [96, 192] },
];

for (const solver of ALONG_SDE) {
  const { name, config, order, steps: [few, many] = [48, 96] } = solver;
  t.test(`${name} ${JSON.stringify(config)}: the mean converges with order ${order}`, async (t) => {
    const slope = Math.log(meanErrorOf(solver, few) / meanErrorOf(solver, many)) / Math.log(many / few);
    t.ok(Math.abs(slope - order) < 0.35, `order ${slope.toFixed(2)}`);
  });
}
