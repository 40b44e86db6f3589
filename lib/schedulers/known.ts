import { join } from "node:path";
import { LatentDiffusionError } from "../errors.js";
import { type JsonObject, readJsonObject } from "../config/config-file.js";
import { SCHEDULER_FILE } from "./configured.js";
import type { Scheduler } from "./contract.js";
import { describe, quote } from "../validate.js";
import { DDIMScheduler } from "./ddim.js";
import { DDIMInverseScheduler } from "./ddim-inverse.js";
import { DDPMScheduler } from "./ddpm.js";
import { DEISMultistepScheduler } from "./deis-multistep.js";
import { DPMSolverMultistepScheduler } from "./dpm-solver-multistep.js";
import { DPMSolverSDEScheduler } from "./dpm-solver-sde.js";
import { DPMSolverSinglestepScheduler } from "./dpm-solver-singlestep.js";
import { EulerAncestralDiscreteScheduler } from "./euler-ancestral.js";
import { HeunDiscreteScheduler } from "./heun.js";
import { LCMScheduler } from "./lcm.js";
import { TCDScheduler } from "./tcd.js";
import { KDPM2AncestralDiscreteScheduler } from "./kdpm2-ancestral.js";
import { KDPM2DiscreteScheduler } from "./kdpm2.js";
import { LMSDiscreteScheduler } from "./lms.js";
import { PNDMScheduler } from "./pndm.js";
import { EulerDiscreteScheduler } from "./euler.js";
import { SASolverScheduler } from "./sa-solver.js";
import { UniPCMultistepScheduler } from "./unipc-multistep.js";

/** A scheduler's class, as `model_index.json` names it. */
interface KnownClass {
  fromConfig(config: JsonObject): Scheduler;
  fromPretrained(folder: string): Promise<Scheduler>;
}

/** Every scheduler of this package, by diffusers' name. */
const SCHEDULERS: ReadonlyMap<string, KnownClass> = new Map<string, KnownClass>([
  ["DDIMScheduler", DDIMScheduler],
  ["DDPMScheduler", DDPMScheduler],
  ["PNDMScheduler", PNDMScheduler],
  ["EulerDiscreteScheduler", EulerDiscreteScheduler],
  ["EulerAncestralDiscreteScheduler", EulerAncestralDiscreteScheduler],
  ["HeunDiscreteScheduler", HeunDiscreteScheduler],
  ["LMSDiscreteScheduler", LMSDiscreteScheduler],
  ["KDPM2DiscreteScheduler", KDPM2DiscreteScheduler],
  ["KDPM2AncestralDiscreteScheduler", KDPM2AncestralDiscreteScheduler],
  ["DPMSolverMultistepScheduler", DPMSolverMultistepScheduler],
  ["DPMSolverSinglestepScheduler", DPMSolverSinglestepScheduler],
  ["DPMSolverSDEScheduler", DPMSolverSDEScheduler],
  ["DEISMultistepScheduler", DEISMultistepScheduler],
  ["UniPCMultistepScheduler", UniPCMultistepScheduler],
  ["SASolverScheduler", SASolverScheduler],
  ["TCDScheduler", TCDScheduler],
  ["LCMScheduler", LCMScheduler],
  ["DDIMInverseScheduler", DDIMInverseScheduler],
]);

/** Schedulers of diffusers that this pipeline cannot use, and why. */
const REFUSED: ReadonlyMap<string, string> = new Map([
  [
    "EDMEulerScheduler",
    "its networks are preconditioned otherwise (EDM), and on an exact model of this pipeline it misses the target",
  ],
  ["EDMDPMSolverMultistepScheduler", "its networks are preconditioned otherwise (EDM)"],
  ["IPNDMScheduler", "it runs in diffusers, but its timesteps are not those of this pipeline's networks"],
  ["CosineDPMSolverMultistepScheduler", "it is made for networks of continuous audio"],
  ["FlowMatchEulerDiscreteScheduler", "it is made for networks that were trained by flow matching"],
  ["FlowMatchHeunDiscreteScheduler", "it is made for networks that were trained by flow matching"],
]);

/** The names of every scheduler of this package. */
export function schedulerClassNames(): readonly string[] {
  return [...SCHEDULERS.keys()];
}

/**
 * Load a scheduler's folder by the name of its class.
 * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a class that is not known here, and what the class throws
 */
export async function loadScheduler(className: unknown, folder: string): Promise<Scheduler> {
  const known = SCHEDULERS.get(className as string);
  if (known) return known.fromPretrained(folder);
  throw unknownClass(
    `the scheduler of ${folder}`,
    className,
    `; bring one instead: { scheduler: await DDIMScheduler.fromPretrained(${JSON.stringify(folder)}) } reads such a file's betas`,
  );
}

/**
 * Load a scheduler's folder by the class that its file names, a `DDIMScheduler` where it names none.
 * @throws LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND`, `ERR_CHECKPOINT_INVALID`, and as {@link loadScheduler}
 */
export async function readScheduler(folder: string): Promise<Scheduler> {
  const { _class_name: className } = await readJsonObject(join(folder, SCHEDULER_FILE));
  return loadScheduler(className ?? "DDIMScheduler", folder);
}

/**
 * Make a scheduler of a config: of the class that it names, as files do, or else of a `DDIMScheduler`'s keys.
 * @throws InvalidArgumentError for an unknown key where no class is named; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED`
 */
export function schedulerFromConfig(config: object): Scheduler {
  if (!("_class_name" in config)) return new DDIMScheduler(config);
  const known = SCHEDULERS.get(String(config._class_name));
  if (!known) throw unknownClass("_class_name of the scheduler", config._class_name);
  return known.fromConfig(config as unknown as JsonObject);
}

function unknownClass(where: string, className: unknown, advice = ""): LatentDiffusionError {
  const names = [...SCHEDULERS.keys()].map((name) => JSON.stringify(name)).join(", ");
  const reason = REFUSED.get(className as string);
  return new LatentDiffusionError(
    "ERR_CONFIG_UNSUPPORTED",
    `Expected one of ${names} for ${where} but received ${typeof className === "string" ? quote(className) : describe(className)}${reason === undefined ? "" : `: ${reason}`}${advice}`,
  );
}
