import t from "tap";
import { availableSchedulers, makeScheduler, SCHEDULER_NAMES } from "../../lib/cli/scheduler-names.js";
import * as library from "../../lib/index.js";

const CONFIG = { _class_name: "DDIMScheduler", beta_start: 0.0015, beta_end: 0.0195, beta_schedule: "scaled_linear" };

t.test("every scheduler of the library has a short name", (t) => {
  const classes = Object.keys(library).filter((name) => name.endsWith("Scheduler"));
  t.ok(classes.includes("DDIMScheduler"));
  const named = new Set(availableSchedulers().map((name) => SCHEDULER_NAMES[name]?.className));
  t.strictSame(
    classes.filter((name) => !named.has(name)),
    [],
    "a class without a name in lib/cli/scheduler-names.ts",
  );
  t.strictSame(
    [...named].filter((name) => name !== undefined && !classes.includes(name)),
    [],
    "a name without a class",
  );
  t.end();
});

t.test("a short name makes its class, with the checkpoint's betas and the name's settings", (t) => {
  for (const name of availableSchedulers()) {
    const { className, config = {} } = SCHEDULER_NAMES[name] ?? { className: "" };
    const scheduler = makeScheduler(name, CONFIG);
    t.equal(scheduler.className, className, name);
    t.match(scheduler.config, { beta_start: 0.0015, beta_end: 0.0195, beta_schedule: "scaled_linear", ...config });
    t.equal(makeScheduler(className, CONFIG).className, className, "the class's own name is taken too");
  }
  t.throws(() => makeScheduler("toString", CONFIG), /Unknown scheduler "toString"/);
  t.end();
});
