import { join } from "node:path";
import t from "tap";
import type { JsonObject } from "../../lib/files/json.js";
import { schedulerFromConfig } from "../../lib/schedulers/known.js";
import { readCase } from "../support/scheduler-cases.js";

// What diffusers constructs, constructs here; what it runs to finite numbers, runs here; what it cannot run is refused before any work.

const root = process.env.PARITY_DIR;
const skip =
  root === undefined ? "needs the files of reference/scheduler-settings.py in PARITY_DIR: npm run test:parity" : false;

/** One setting, and what diffusers made of it: reasons, empty where it went well. */
interface SettingCase {
  readonly class: string;
  readonly config: JsonObject;
  readonly refused: string;
  /** By number of steps. */
  readonly runs: Readonly<Record<string, string>>;
}

/** Settings that diffusers runs and this package refuses, with the reason; or the other way round. */
const EXCEPTIONS: readonly (readonly [reason: string, applies: (given: SettingCase, count?: number) => boolean])[] = [
  [
    "flow matching: networks of this pipeline are not trained by it",
    ({ config }) =>
      config.use_flow_sigmas === true ||
      config.flow_shift !== undefined ||
      config.use_dynamic_shifting === true ||
      config.prediction_type === "flow_prediction",
  ],
  [
    "names that diffusers takes and never reads: a misspelling would go unnoticed",
    ({ config }) => Object.values(config).includes("nonsense"),
  ],
  [
    "networks that predict a variance are not run, and fixed_large_log is NaN wherever its logarithm is negative",
    ({ config }) => ["learned", "learned_range", "fixed_large_log"].some((name) => name === config.variance_type),
  ],
  [
    "more steps than training timesteps visit the same one several times",
    ({ config }, count = 0) =>
      count > (typeof config.num_train_timesteps === "number" ? config.num_train_timesteps : 1000),
  ],
  [
    "an order without an update of its own: diffusers takes the highest one that it has, or fails later in the run",
    ({ config, class: name }) =>
      Number(config.solver_order) > 3 ||
      Number(config.predictor_order) > 4 ||
      Number(config.corrector_order) > 4 ||
      (name === "DPMSolverMultistepScheduler" &&
        config.algorithm_type === "sde-dpmsolver" &&
        config.solver_order === 3),
  ],
  [
    "diffusers replaces the algorithm deis by its own, but checks the old name first",
    ({ config }) => config.algorithm_type === "deis",
  ],
  [
    "diffusers' constructor fails at its own list of orders",
    ({ config, class: name }) => name === "DPMSolverSinglestepScheduler" && config.num_train_timesteps === 1,
  ],
];

function failure(body: () => void): string {
  try {
    body();
    return "";
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    return code === "ERR_CONFIG_UNSUPPORTED" || code === "ERR_INVALID_ARGUMENT" ? message : `not typed: ${message}`;
  }
}

const isSilent = (given: SettingCase): boolean => Object.values(given.runs).every((reason) => reason !== "");

t.test("settings of every scheduler", { skip }, async (t) => {
  const { cases } = readCase(join(root ?? "", "scheduler-settings", "settings")) as { cases: SettingCase[] };
  const counts = { constructed: 0, refused: 0, run: 0, notRun: 0, excepted: 0 };
  const wrong: string[] = [];
  for (const given of cases) {
    const where = `${given.class} ${JSON.stringify(given.config)}`;
    const make = (): ReturnType<typeof schedulerFromConfig> =>
      schedulerFromConfig({ ...given.config, _class_name: given.class });
    const refusal = failure(make);
    const expected = given.refused !== "";
    // A setting that no run could follow may be refused at once.
    if ((refusal !== "") !== expected && !(refusal !== "" && isSilent(given))) {
      if (EXCEPTIONS.some(([, applies]) => applies(given))) counts.excepted++;
      else wrong.push(`${where}: here "${refusal}", in diffusers "${given.refused}"`);
      continue;
    }
    if (refusal !== "") {
      counts.refused++;
      continue;
    }
    counts.constructed++;
    for (const [count, reason] of Object.entries(given.runs)) {
      const here = failure(() => {
        const scheduler = make();
        scheduler.setTimesteps(Number(count));
        scheduler.checkSteps({});
      });
      if (!here.startsWith("not typed") && (here !== "") === (reason !== "")) counts[here ? "notRun" : "run"]++;
      else if (EXCEPTIONS.some(([, applies]) => applies(given, Number(count)))) counts.excepted++;
      else wrong.push(`${where}, ${count} steps: here "${here}", in diffusers "${reason}"`);
    }
  }
  t.comment(JSON.stringify(counts));
  t.strictSame(wrong, [], `${cases.length} settings`);
});
