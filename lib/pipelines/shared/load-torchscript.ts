import { checkExecution } from "../../torch/device.js";
import { InvalidArgumentError, LatentDiffusionError } from "../../errors.js";
import type { JsonObject } from "../../files/json.js";
import type { DDIMConfigKeys } from "../../schedulers/ddim.js";
import { readScheduler, schedulerFromConfig } from "../../schedulers/known.js";
import type { Scheduler } from "../../schedulers/base.js";
import { EXECUTION_OPTIONS, type ExecutionOptions, ScriptModule } from "../../torch/script-module.js";
import { checkOptions, checkString, unexpected } from "../../validate.js";
import { checkParts } from "./pipeline-parts.js";
import {
  readTorchScriptConfig,
  type TorchScriptConfig,
  TorchScriptDecoder,
  TorchScriptUNet,
} from "./torchscript-parts.js";

/** What {@link LDMPipeline.fromTorchScript} takes. */
export interface TorchScriptOptions extends ExecutionOptions {
  /** A file, or a loaded module: `forward(sample, timestep)` gives what the scheduler's `prediction_type` says. */
  unet: string | ScriptModule;
  /** A file, or a loaded module: `forward(latents)` quantises them and makes pictures in [-1, 1]; it does not scale. */
  vqDecoder: string | ScriptModule;
  /** A scheduler, its config, or the folder of a `scheduler_config.json`. */
  scheduler: Scheduler | Partial<DDIMConfigKeys> | JsonObject | string;
  /** What the files do not say, or a JSON file of it. */
  config: TorchScriptConfig | string;
  /** Required to load files: **loading TorchScript runs code of the file**. */
  trusted: boolean;
}

/** What TorchScript files make. */
export interface TorchScriptComponents {
  readonly vqvae: TorchScriptDecoder;
  readonly unet: TorchScriptUNet;
  readonly scheduler: Scheduler;
}

/** Load the parts that a pipeline of TorchScript modules has; nothing stays open if one fails. */
export async function loadTorchScript(options: TorchScriptOptions): Promise<TorchScriptComponents> {
  const known = ["unet", "vqDecoder", "scheduler", "config", "trusted", ...EXECUTION_OPTIONS];
  const { unet, vqDecoder, scheduler, config, trusted, ...execution } = checkOptions(
    options,
    known,
    "LDMPipeline.fromTorchScript",
  );
  checkExecution(execution);
  checkSource(unet, "unet");
  checkSource(vqDecoder, "vqDecoder");
  if (config === undefined) throw unexpected("an object or a path", "config", config);
  if (unet === vqDecoder && unet instanceof ScriptModule)
    throw new InvalidArgumentError("Expected two modules for unet and vqDecoder but received one");
  const complete = await readTorchScriptConfig(config);
  const ownScheduler = await makeScheduler(scheduler);
  const loading = { ...execution, trusted: trusted === true };
  const unetModule = await openModule(unet, "unet", loading);
  try {
    const decoder = await openModule(vqDecoder, "vqDecoder", loading);
    return {
      vqvae: new TorchScriptDecoder(decoder, complete),
      unet: new TorchScriptUNet(unetModule, complete),
      scheduler: ownScheduler,
    };
  } catch (error) {
    if (unetModule !== unet) unetModule.dispose();
    throw error;
  }
}

async function makeScheduler(given: unknown): Promise<Scheduler> {
  if (typeof given === "string") return readScheduler(checkString(given, "scheduler"));
  if (typeof given !== "object" || given === null)
    throw unexpected("a scheduler, its config or a folder", "scheduler", given);
  if (!("step" in given)) return schedulerFromConfig(given);
  checkParts({ scheduler: given as Scheduler });
  return given as Scheduler;
}

/** Load a file, or take a module as it is; it must have what the pipeline calls. */
async function openModule(
  given: string | ScriptModule,
  option: string,
  loading: ExecutionOptions & { trusted: boolean },
): Promise<ScriptModule> {
  const module = given instanceof ScriptModule ? given : await ScriptModule.load(given, loading);
  const { methods } = module.info;
  if (methods.includes("forward")) return module;
  if (module !== given) module.dispose();
  const found = methods.length > 0 ? methods.join(", ") : "none";
  throw new LatentDiffusionError(
    "ERR_TORCHSCRIPT_INVALID",
    `Expected a TorchScript module with the method forward for ${option} but received one with ${found}`,
  );
}

function checkSource(value: unknown, option: string): asserts value is string | ScriptModule {
  if (!(value instanceof ScriptModule) && (typeof value !== "string" || value === ""))
    throw unexpected("a path or a ScriptModule", option, value);
  if (value instanceof ScriptModule && value.disposed)
    throw new InvalidArgumentError(`The module for ${option} was disposed`);
}
