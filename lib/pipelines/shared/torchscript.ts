import { checkExecution } from "../../torch/device.js";
import { abortableResource, InvalidArgumentError, LatentDiffusionError, throwIfAborted } from "../../errors.js";
import type { JsonObject } from "../../files/json.js";
import { readJsonObject } from "../../config/config-file.js";
import { ScriptNetwork } from "../../models/script-network.js";
import type { DDIMConfigKeys } from "../../schedulers/ddim.js";
import { readScheduler, schedulerFromConfig } from "../../schedulers/known.js";
import type { Scheduler } from "../../schedulers/contract.js";
import { ScriptModule } from "../../torch/script-module.js";
import type { ScriptArgument } from "../../torch/script-values.js";
import { op, Tensor } from "../../torch/tensor.js";
import { checkInteger, checkOptions, checkSignal, checkString, isPlainObject, unexpected } from "../../validate.js";
import { checkScalingFactor, checkUsable, type DenoisingNetwork, type LatentDecoder } from "./components.js";
import { checkIsolate, type IsolateOptions } from "../../torch/isolated-load.js";
import { EXECUTION_OPTIONS, type ExecutionOptions } from "../../torch/execution.js";

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
  trusted: true;
  /** Load each file in a child process first, so that code that crashes or never ends does so there; default false. */
  isolate?: boolean | IsolateOptions;
  /** Ends the wait at once, with an AbortError; what was loaded is freed. */
  signal?: AbortSignal;
}

/** What TorchScript files make. */
export interface TorchScriptComponents {
  readonly vqvae: TorchScriptDecoder;
  readonly unet: TorchScriptUNet;
  readonly scheduler: Scheduler;
}

/** Load the components that a pipeline of TorchScript modules has; nothing stays open if one fails. */
export async function loadTorchScript(options: TorchScriptOptions): Promise<TorchScriptComponents> {
  const known = ["unet", "vqDecoder", "scheduler", "config", "trusted", "isolate", "signal", ...EXECUTION_OPTIONS];
  const { unet, vqDecoder, scheduler, config, trusted, isolate, signal, ...execution } = checkOptions(
    options,
    known,
    "LDMPipeline.fromTorchScript",
  );
  checkExecution(execution);
  checkIsolate(isolate);
  checkSource(unet, "unet");
  checkSource(vqDecoder, "vqDecoder");
  if (config === undefined) throw unexpected("an object or a path", "config", config);
  if (unet === vqDecoder && unet instanceof ScriptModule)
    throw new InvalidArgumentError("Expected two modules for unet and vqDecoder but received one");
  throwIfAborted(checkSignal(signal, "signal"));
  const complete = await readTorchScriptConfig(config);
  const ownScheduler = await makeScheduler(scheduler);
  // What a JavaScript caller leaves out is refused where a file is loaded.
  const loading = { ...execution, isolate, signal, trusted: trusted as true };
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
  if (isPlainObject(given) && !("step" in given)) return schedulerFromConfig(given);
  checkUsable({ scheduler: given as Scheduler });
  return given as Scheduler;
}

/** Load a file, or take a module as it is; it must have what the pipeline calls. */
async function openModule(
  given: string | ScriptModule,
  option: string,
  { signal, ...loading }: ExecutionOptions & Pick<TorchScriptOptions, "signal" | "trusted" | "isolate">,
): Promise<ScriptModule> {
  throwIfAborted(signal);
  const module =
    given instanceof ScriptModule
      ? given
      : await abortableResource(ScriptModule.load(given, { ...loading, signal }), signal, (late) => late.dispose());
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

/** What TorchScript files do not say themselves; `models/export_torchscript.py` writes it as `config.json`. */
export interface TorchScriptConfig {
  /** Channels of the latents. */
  readonly in_channels: number;
  /** Channels that the UNet gives; default `in_channels`; twice as many with a learned variance. */
  readonly out_channels?: number;
  /** Height and width of the latents; null or absent: each call says. */
  readonly sample_size?: number | readonly number[] | null;
  /** What latents are divided by before decoding; default 1. */
  readonly scaling_factor?: number;
  /** Channels of the pictures; default 3. */
  readonly image_channels?: number;
  /** Pixels to one latent pixel, in each direction; needed for `height` and `width`. */
  readonly vae_scale_factor?: number;
}

const CONFIG_KEYS = [
  "in_channels",
  "out_channels",
  "sample_size",
  "scaling_factor",
  "image_channels",
  "vae_scale_factor",
] as const;

/** The config with its defaults. */
export type CompleteTorchScriptConfig = Required<Omit<TorchScriptConfig, "vae_scale_factor">> &
  Pick<TorchScriptConfig, "vae_scale_factor">;

/** Check a config, or read it from a JSON file. @throws InvalidArgumentError; LatentDiffusionError as {@link readJsonObject} */
export async function readTorchScriptConfig(config: TorchScriptConfig | string): Promise<CompleteTorchScriptConfig> {
  const given = typeof config === "string" ? ((await readJsonObject(config)) as unknown as TorchScriptConfig) : config;
  if (given === undefined) throw unexpected("an object or a path", "config", given);
  const known = checkOptions(given, CONFIG_KEYS, "the config of LDMPipeline.fromTorchScript");
  const channels = checkInteger(known.in_channels, "config.in_channels", 1);
  const scale = known.vae_scale_factor;
  return {
    in_channels: channels,
    out_channels: checkInteger(known.out_channels ?? channels, "config.out_channels", 1),
    sample_size: checkSampleSize(known.sample_size ?? null),
    scaling_factor: checkScalingFactor(known.scaling_factor ?? 1),
    image_channels: checkInteger(known.image_channels ?? 3, "config.image_channels", 1),
    vae_scale_factor: scale === undefined ? undefined : checkInteger(scale, "config.vae_scale_factor", 1),
  };
}

function checkSampleSize(value: unknown): number | readonly number[] | null {
  if (value === null) return null;
  if (!Array.isArray(value)) return checkInteger(value, "config.sample_size", 1);
  if (value.length !== 2) throw unexpected("an integer, two of them, or null,", "config.sample_size", value);
  return value.map((size, i) => checkInteger(size, `config.sample_size[${i}]`, 1));
}

/** A component of a pipeline that runs the `forward` of one TorchScript module. */
export abstract class TorchScriptComponent extends ScriptNetwork {
  protected async run(args: readonly ScriptArgument[], what: string, signal: AbortSignal | undefined): Promise<Tensor> {
    const result = await this.module.call("forward", args, { signal });
    // An export with return_dict=False gives a tuple of one.
    const tensor = Array.isArray(result) ? (result as readonly unknown[])[0] : result;
    if (tensor instanceof Tensor) return tensor as Tensor;
    throw new LatentDiffusionError(
      "ERR_TORCHSCRIPT_INVALID",
      `Expected a tensor from the TorchScript ${what} but received ${typeof tensor}`,
    );
  }
}

/** A UNet that was exported to TorchScript: `forward(sample, timestep)`, the timestep a float32 tensor without dimensions. */
export class TorchScriptUNet extends TorchScriptComponent implements DenoisingNetwork {
  readonly config: DenoisingNetwork["config"];

  /** @internal */
  constructor(module: ScriptModule, { in_channels, out_channels, sample_size }: CompleteTorchScriptConfig) {
    super(module);
    this.config = Object.freeze({ in_channels, out_channels, sample_size });
  }

  /**
   * Run the network once.
   * @param sample `[batch, in_channels, height, width]`
   * @throws AbortError; LatentDiffusionError `ERR_TORCH`, `ERR_TORCHSCRIPT_INVALID` if it does not return a tensor
   */
  async forward(sample: Tensor, timestep: number, options?: { signal?: AbortSignal }): Promise<{ sample: Tensor }> {
    // The shape that broadcasts in every export, and a float: a trace made with an integer would cut 7.5 to 7.
    const local = Tensor.from(Float32Array.of(timestep), []);
    // At once: the module may be moved while one waits.
    const time = op("to.device", local, sample.device, local.dtype);
    try {
      return { sample: await this.run([sample, time], "UNet", options?.signal) };
    } finally {
      local.dispose();
      time.dispose();
    }
  }
}

/** A decoder that was exported to TorchScript: `forward(latents)`; it quantises, and does not scale. */
export class TorchScriptDecoder extends TorchScriptComponent implements LatentDecoder {
  readonly config: LatentDecoder["config"];

  /** @internal */
  constructor(
    module: ScriptModule,
    { in_channels, image_channels, scaling_factor, vae_scale_factor }: CompleteTorchScriptConfig,
  ) {
    super(module);
    this.config = Object.freeze({
      latent_channels: in_channels,
      out_channels: image_channels,
      scaling_factor,
      vae_scale_factor,
    });
  }

  /**
   * Make pictures from latents, `[batch, in_channels, height, width]`.
   * @throws AbortError; LatentDiffusionError `ERR_TORCH`, `ERR_TORCHSCRIPT_INVALID` if it does not return a tensor
   */
  async decode(latents: Tensor, options?: { signal?: AbortSignal }): Promise<{ sample: Tensor }> {
    return { sample: await this.run([latents], "decoder", options?.signal) };
  }
}
