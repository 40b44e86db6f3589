import type { Scheduler } from "../index.js";
import { LatentDiffusionError } from "../errors.js";
import { schedulerFromConfig } from "../schedulers/known.js";
import { suggest } from "../validate.js";
import { UsageError } from "./failure.js";

/** What a short name stands for. */
export interface NamedScheduler {
  readonly className: string;
  /** Config keys that the name decides; all others come from the checkpoint. */
  readonly config?: Readonly<Record<string, string>>;
}

/** The short names of `--scheduler`. */
export const SCHEDULER_NAMES: Readonly<Record<string, NamedScheduler>> = {
  ddim: { className: "DDIMScheduler" },
  ddpm: { className: "DDPMScheduler" },
  pndm: { className: "PNDMScheduler" },
  lms: { className: "LMSDiscreteScheduler" },
  euler: { className: "EulerDiscreteScheduler" },
  "euler-a": { className: "EulerAncestralDiscreteScheduler" },
  heun: { className: "HeunDiscreteScheduler" },
  dpm2: { className: "KDPM2DiscreteScheduler" },
  "dpm2-a": { className: "KDPM2AncestralDiscreteScheduler" },
  "dpm++": { className: "DPMSolverMultistepScheduler", config: { algorithm_type: "dpmsolver++" } },
  "dpm++-2m-sde": { className: "DPMSolverMultistepScheduler", config: { algorithm_type: "sde-dpmsolver++" } },
  "dpm++-2s": { className: "DPMSolverSinglestepScheduler", config: { algorithm_type: "dpmsolver++" } },
  "dpm++-sde": { className: "DPMSolverSDEScheduler" },
  deis: { className: "DEISMultistepScheduler" },
  unipc: { className: "UniPCMultistepScheduler" },
  sa: { className: "SASolverScheduler" },
  tcd: { className: "TCDScheduler" },
  lcm: { className: "LCMScheduler" },
  "ddim-inverse": { className: "DDIMInverseScheduler" },
};

/**
 * Find what a short name, or a class's name, stands for.
 * @throws UsageError for an unknown name, and for a class that this version does not have
 */
export function findScheduler(name: string): NamedScheduler {
  const named = Object.hasOwn(SCHEDULER_NAMES, name) ? SCHEDULER_NAMES[name] : byClass(name);
  if (!named) throw new UsageError(`Unknown scheduler "${name}"${suggest(name, availableSchedulers())}`);
  if (!isAvailable(named)) throw new UsageError(`This version has no ${named.className} ("${name}")`);
  return named;
}

/**
 * Make a scheduler by its short name, with the betas and the prediction type of another one.
 * @param config of the checkpoint's own scheduler
 * @throws UsageError as {@link findScheduler}; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED`
 */
export function makeScheduler(name: string, config: object): Scheduler {
  const named = findScheduler(name);
  return schedulerFromConfig({ ...config, ...named.config, _class_name: named.className });
}

function byClass(className: string): NamedScheduler | undefined {
  return Object.values(SCHEDULER_NAMES).some((named) => named.className === className) ? { className } : undefined;
}

/** The short names whose classes this version has. */
export function availableSchedulers(): string[] {
  return Object.entries(SCHEDULER_NAMES)
    .filter(([, named]) => isAvailable(named))
    .map(([name]) => name);
}

/** Ask the registry, which refuses a class that it does not know by a code of its own. */
function isAvailable({ className }: NamedScheduler): boolean {
  try {
    schedulerFromConfig({ _class_name: className });
    return true;
  } catch (error) {
    if (error instanceof LatentDiffusionError && error.code === "ERR_CONFIG_UNSUPPORTED") return false;
    throw error;
  }
}
