import { LatentDiffusionError } from "../errors.js";
import { DDIMScheduler } from "./ddim-scheduler.js";
import type { Scheduler } from "./scheduler.js";

/** A scheduler's class, as `model_index.json` names it. */
interface SchedulerClass {
  fromPretrained(folder: string): Promise<Scheduler>;
}

const SCHEDULERS: ReadonlyMap<string, SchedulerClass> = new Map([["DDIMScheduler", DDIMScheduler]]);

/**
 * Load a scheduler's folder by the name of its class.
 * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a class that is not known here, and what the class throws
 */
export async function loadScheduler(className: string, folder: string): Promise<Scheduler> {
  const known = SCHEDULERS.get(className);
  if (known) return known.fromPretrained(folder);
  const names = [...SCHEDULERS.keys()];
  throw new LatentDiffusionError(
    "ERR_CONFIG_UNSUPPORTED",
    `Expected ${names.map((name) => JSON.stringify(name)).join(" or ")} for the scheduler of ${folder} but received ${JSON.stringify(className)}; `
      + `bring one instead: { scheduler: await DDIMScheduler.fromPretrained(${JSON.stringify(folder)}) } reads such a file's betas`,
  );
}
