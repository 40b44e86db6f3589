import { randomInt } from "node:crypto";
import { join } from "node:path";
import { inspect } from "node:util";
import { checkExecution } from "../torch/device.js";
import { abortableResource, InvalidArgumentError, LatentDiffusionError, throwIfAborted } from "../errors.js";
import { Generator } from "../torch/generator.js";
import type { Device, DType, ModuleSpec } from "../native/contract.js";
import type { Config, ConfigClass } from "../config/config.js";
import { configFile, type JsonObject, readConfig } from "../config/config-file.js";
import {
  checkTensorCount,
  matchWeights,
  openWeights,
  renameLegacyAttention,
  saveWeights,
  type SaveWeightsOptions,
} from "../checkpoint/weights.js";
import { ScriptModule } from "../torch/script-module.js";
import type { Weight } from "../torch/script-values.js";
import { Tensor } from "../torch/tensor.js";
import { checkSubfolder, locateCheckpoint, networkFiles } from "../checkpoint/locate.js";
import { checkVariant } from "../checkpoint/weight-files.js";
import { HUB_OPTIONS, type HubOptions, splitHubOptions } from "../hub/options.js";
import { checkOptions, checkSignal, checkString, unexpected } from "../validate.js";
import { initialWeights } from "./initial-weights.js";
import { ScriptNetwork } from "./script-network.js";
import { EXECUTION_OPTIONS, type ExecutionOptions, type MoveOptions } from "../torch/execution.js";

const CONFIG_FILE = "config.json";

/** Options of `fromConfig`. */
export interface FromConfigOptions extends ExecutionOptions {
  /** Where the random weights come from, on the CPU, left alone until they are drawn; default: a new one with a random seed. */
  generator?: Generator;
  /** Ends the wait at once, with an AbortError; what was begun is freed. */
  signal?: AbortSignal;
}

/** Options of `fromPretrained`. */
export interface FromPretrainedOptions extends ExecutionOptions, HubOptions {
  /** A folder inside the folder or the repository, `"unet"`. */
  subfolder?: string;
  /** Weights of a variant, `"fp16"`. */
  variant?: string;
  /** Ends the wait at once, with an AbortError; what was begun is freed, what was downloaded is kept. */
  signal?: AbortSignal;
}

/** What tells one class of network from another. */
export interface NetworkKind<Keys extends object> extends ConfigClass<Keys> {
  /** @internal Check a config, and write the network for it. */
  readonly write: (config: object) => { readonly config: Config<Keys>; readonly spec: ModuleSpec };
}

/** A class of networks, as the static methods of {@link NetworkModel} see it. */
export interface NetworkClass<Keys extends object, Model> {
  new (parts: NetworkParts<Keys>): Model;
  readonly kind: NetworkKind<Keys>;
}

/** What a network is made of: `fromConfig` and `fromPretrained` hand it to the constructor. */
export interface NetworkParts<Keys extends object> {
  readonly kind: NetworkKind<Keys>;
  readonly config: Config<Keys>;
  readonly module: ScriptModule;
  /** Let the weights go: close the files, or free the tensors. */
  readonly release: () => void;
}

/** Make a network with random weights; the config is checked before any other work. */
async function initializeNetwork<Keys extends object>(
  kind: NetworkKind<Keys>,
  given: object,
  options: FromConfigOptions | undefined,
): Promise<NetworkParts<Keys>> {
  const { className, write } = kind;
  const known = [...EXECUTION_OPTIONS, "generator", "signal"];
  const { generator, signal, ...execution } = checkOptions(options, known, `${className}.fromConfig`);
  if (generator !== undefined && (!(generator instanceof Generator) || generator.device !== "cpu")) {
    throw unexpected("a Generator on the CPU", "generator", generator);
  }
  checkExecution(execution);
  throwIfAborted(checkSignal(signal, "signal"));
  const { config, spec } = write(given);
  const source = generator ?? Generator.fromSeed(randomInt(2 ** 47));
  const drawing = initialWeights(spec, source).finally(() => {
    if (!generator) source.dispose();
  });
  const weights = await abortableResource(drawing, signal, (late) => late.forEach((tensor) => tensor.dispose()));
  const release = (): void => weights.forEach((tensor) => tensor.dispose());
  return define({ kind, config, release }, spec, weights, { ...execution, signal });
}

/** Make a network with the weights of a folder in diffusers' layout, or of a repository on the hub. */
async function loadNetwork<Keys extends object>(
  kind: NetworkKind<Keys>,
  source: string | URL,
  options: FromPretrainedOptions | undefined,
): Promise<NetworkParts<Keys>> {
  const { className, write } = kind;
  const known = [...EXECUTION_OPTIONS, "subfolder", "variant", ...HUB_OPTIONS];
  const [hub, own] = splitHubOptions(checkOptions(options, known, `${className}.fromPretrained`));
  const { subfolder, variant, ...execution } = own;
  const { signal } = hub;
  const inside = checkSubfolder(subfolder);
  if (variant !== undefined) checkVariant(variant);
  checkExecution(execution);
  throwIfAborted(checkSignal(signal, "signal"));
  const folder = await locateCheckpoint(source, hub, (choice) => networkFiles(choice, inside, variant));
  const path = join(folder, inside);
  const { config, spec } = write(await readConfig(path, CONFIG_FILE, className));
  throwIfAborted(signal);
  const files = await openWeights(path, { variant });
  const release = (): void => files.dispose();
  let weights: ReadonlyMap<string, Weight>;
  try {
    const parameters = parametersOf(spec);
    checkTensorCount(parameters.length, files.tensors.size, path);
    weights = matchWeights(parameters, renameLegacyAttention(files.tensors), path);
    throwIfAborted(signal);
  } catch (error) {
    release();
    throw error;
  }
  return define({ kind, config, release }, spec, weights, { ...execution, signal });
}

/** Compile a network; if that fails, its weights are let go. */
async function define<Keys extends object>(
  parts: Omit<NetworkParts<Keys>, "module">,
  spec: ModuleSpec,
  weights: ReadonlyMap<string, Weight>,
  { signal, ...execution }: MoveOptions,
): Promise<NetworkParts<Keys>> {
  try {
    const defining = ScriptModule.define(spec, weights, execution);
    return { ...parts, module: await abortableResource(defining, signal, (late) => late.dispose()) };
  } catch (error) {
    parts.release();
    throw error;
  }
}

/** Full names and shapes of a network's parameters: the names of the checkpoint. */
export function parametersOf(spec: ModuleSpec, prefix = ""): (readonly [name: string, shape: readonly number[]])[] {
  const own = spec.parameters.map(([name, shape]) => [prefix + name, shape] as const);
  return [...own, ...spec.children.flatMap(([name, child]) => parametersOf(child, `${prefix}${name}.`))];
}

/** What the classes of networks have in common: a config, and weights that are loaded, saved and let go. */
export abstract class NetworkModel<Keys extends object> extends ScriptNetwork {
  /** diffusers' name of the class, as `model_index.json` writes it. */
  readonly className: string;
  /** Every key of the class, with diffusers' spelling and defaults, and what else the file held; frozen. */
  readonly config: Config<Keys>;
  readonly #kind: NetworkKind<Keys>;
  readonly #release: () => void;

  /** Not for callers: use {@link NetworkModel.fromConfig} or {@link NetworkModel.fromPretrained}. */
  constructor(parts: NetworkParts<Keys>) {
    // JavaScript lets callers come here: what the two static methods hand over has a ScriptModule.
    if (!(parts?.module instanceof ScriptModule))
      throw new InvalidArgumentError(
        "A network is not constructed directly; use fromConfig(config) or fromPretrained(folder)",
      );
    const { kind, config, module, release } = parts;
    super(module);
    this.className = kind.className;
    this.#kind = kind;
    this.config = config;
    this.#release = release;
  }

  /**
   * Make a network with random weights, initialised as PyTorch and diffusers do.
   * @param config keys of diffusers' config.json; a key that is left out has diffusers' default
   * @param options `generator` of the weights; `device`, `dtype` (default `"float32"`), `optimize`; `signal`
   * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming key and value; InvalidArgumentError for an unknown key or option; AbortError
   * @see diffusers.ModelMixin.from_config
   * @example
   * const unet = await UNet2DModel.fromConfig({ sample_size: 32, block_out_channels: [32, 64, 64, 64] });
   */
  static async fromConfig<Keys extends object, Model>(
    this: NetworkClass<Keys, Model>,
    config: Partial<Keys> | JsonObject,
    options?: FromConfigOptions,
  ): Promise<Model> {
    return new this(await initializeNetwork(this.kind, config, options));
  }

  /**
   * Load a network in diffusers' layout: `config.json` and weights, in one file or in shards; safetensors before `.bin`.
   * @param source a folder, a `file:` URL, or a repository on the Hugging Face hub, `"owner/name"`; a folder of that name comes first
   * @param options `subfolder`, `variant`; `device`, `dtype` (default `"float32"`, whatever the file holds), `optimize`; `signal`; of the hub:
   *   `revision`, `token`, `cacheDir`, `localFilesOnly`, `forceDownload`, `endpoint`, `onProgress`
   * @throws AbortError; LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND`, `ERR_CHECKPOINT_INVALID` listing every tensor that does not fit,
   *   `ERR_CONFIG_UNSUPPORTED`, `ERR_DEVICE_UNAVAILABLE`, `ERR_OUT_OF_MEMORY`; `ERR_HUB_NOT_FOUND`, `ERR_HUB_ACCESS_DENIED`,
   *   `ERR_HUB_UNAVAILABLE`, `ERR_HUB_OFFLINE`, `ERR_DOWNLOAD_FAILED`, `ERR_IO`
   * @see diffusers.ModelMixin.from_pretrained
   * @example
   * const unet = await UNet2DModel.fromPretrained("models/demo", { subfolder: "unet", dtype: "bfloat16" });
   */
  static async fromPretrained<Keys extends object, Model>(
    this: NetworkClass<Keys, Model>,
    source: string | URL,
    options?: FromPretrainedOptions,
  ): Promise<Model> {
    return new this(await loadNetwork(this.kind, source, options));
  }

  /**
   * Save in diffusers' layout: `config.json` and `diffusion_pytorch_model.safetensors`, or shards of it. The config stands only when all
   * of it does.
   * @param folder is made if it does not exist
   * @param options `dtype` of the weights, default as they are; `maxShardSize` in bytes; `variant`; `signal`, read before each file
   * @throws AbortError; LatentDiffusionError `ERR_IO`, `ERR_DISPOSED`
   */
  async savePretrained(folder: string, options?: SaveWeightsOptions): Promise<void> {
    checkString(folder, "folder");
    const weights = this.module.weights;
    if (this.disposed || !weights)
      throw new LatentDiffusionError("ERR_DISPOSED", `This ${this.className} was disposed`);
    await saveWeights(folder, weights, options, configFile(folder, CONFIG_FILE, this.#kind, this.config));
  }

  /** Free the weights, after what is queued; a second call does nothing. */
  override dispose(): void {
    if (this.disposed) return;
    super.dispose();
    this.#release();
  }

  [inspect.custom](): string {
    if (this.disposed) return `${this.className}(disposed)`;
    const count = this.module.info.parameters.reduce(
      (sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1),
      0,
    );
    return `${this.className}(${count} parameters, ${this.dtype}, ${this.device})`;
  }
}

/** Check a tensor of features: four dimensions, the channels, the model's device and dtype. */
export function checkFeatures(
  value: unknown,
  option: string,
  channels: number,
  model: { dtype: DType; device: Device },
): Tensor {
  const tensor = checkTensor(value, option, model.device);
  const { shape, dtype } = tensor;
  if (shape.length !== 4 || shape[1] !== channels || shape.includes(0)) {
    throw mismatch(`a tensor of shape [batch, ${channels}, height, width]`, option, formatShape(shape));
  }
  if (dtype !== model.dtype) throw mismatch(`a ${model.dtype} tensor, as the model computes,`, option, dtype);
  return tensor;
}

/** Check that a value is a tensor on the model's device. */
export function checkTensor(value: unknown, option: string, device: Device): Tensor {
  if (!(value instanceof Tensor)) throw unexpected("a Tensor", option, value);
  if (value.device !== device)
    throw mismatch(`a tensor on ${device}, where the model is,`, option, `one on ${value.device}`);
  return value as Tensor;
}

/** The error for a tensor that does not fit: what was expected, for which argument, what came. */
export function mismatch(expected: string, option: string, received: string): InvalidArgumentError {
  return new InvalidArgumentError(`Expected ${expected} for ${option} but received ${received}`);
}

/** A shape as messages write it. */
export function formatShape(shape: readonly number[]): string {
  return `[${shape.join(", ")}]`;
}
