import { inspect } from "node:util";
import { brandOf, markClass } from "../native/brand.js";
import { checkDevice, checkExecution, checkFloatingDType, type FloatingDType, isFloating } from "./device.js";
import { abortable, abortableResource, InvalidArgumentError, LatentDiffusionError, throwIfAborted } from "../errors.js";
import { settle } from "../native/calls.js";
import type {
  Device,
  ExecutableHandle,
  ModuleHandle,
  ModuleInfo,
  ModuleSpec,
  NativeWeight,
} from "../native/contract.js";
import { native } from "../native/open.js";
import {
  EXECUTION_OPTIONS,
  type ExecutionOptions,
  executionOf,
  type ExecutionTarget,
  type MoveOptions,
  MoveQueue,
  type StagedExecution,
} from "./execution.js";
import { flagOf } from "./signal-flags.js";
import { checkIsolate, type IsolateOptions, tryInChild } from "./isolated-load.js";
import { checkScriptFile } from "./script-archive.js";
import { replaceNamedFile } from "../files/atomic-file.js";
import {
  lowerArgument,
  lowerWeight,
  raiseResult,
  type ScriptArgument,
  type ScriptResult,
  type Weight,
} from "./script-values.js";
import { checkArray, checkBoolean, checkOptions, checkSignal, checkPath, unexpected } from "../validate.js";

/** What {@link ScriptModule.load} takes. */
export interface ScriptLoadOptions extends MoveOptions {
  /** Required: **loading TorchScript runs code of the file**. */
  trusted: true;
  /** Load the file in a child process first, for at most a minute or `timeout` milliseconds; default false. */
  isolate?: boolean | IsolateOptions;
}

interface Execution {
  readonly handle: ExecutableHandle;
  readonly device: Device;
  readonly dtype: FloatingDType;
  readonly optimize: boolean;
}

const BRAND = brandOf("ScriptModule");
const INTERNAL = Symbol("latent-diffusion internal");

/**
 * A TorchScript network: what it is (code and weights) and what runs (derived for one device, dtype and `optimize`).
 * @see torch.jit.ScriptModule
 */
export class ScriptModule {
  readonly info: ModuleInfo;
  readonly #module: ModuleHandle;
  readonly #weights: readonly Weight[] | null;
  #execution: Execution | undefined;
  #disposed = false;
  readonly #moves = new MoveQueue();

  /** Not for callers: use {@link ScriptModule.load}. */
  private constructor(internal: typeof INTERNAL, module: ModuleHandle, weights: readonly Weight[] | null) {
    if (internal !== INTERNAL)
      throw new InvalidArgumentError(
        "ScriptModule is not constructed directly; use ScriptModule.load(path, { trusted: true })",
      );
    this.info = native().moduleInfo(module);
    this.#module = module;
    this.#weights = weights;
  }

  /**
   * Load a file that `torch.jit.save` (or {@link ScriptModule.save}) wrote.
   * **Loading TorchScript runs code of the file**: load only what you trust.
   * @param path a path or a `file:` URL
   * @param options `trusted: true` is required; `dtype` defaults to the file's; `signal` ends the wait at once; `isolate` loads it in a child process
   *   first, so that code that crashes or never ends does so there
   * @throws AbortError; LatentDiffusionError `ERR_TORCHSCRIPT_UNTRUSTED`, `ERR_TORCHSCRIPT_INVALID`, `ERR_CHECKPOINT_NOT_FOUND`,
   *   `ERR_DEVICE_UNAVAILABLE`; `ERR_CONFIG_UNSUPPORTED` where a trace has another device or dtype baked in
   */
  static async load(path: string | URL, options: ScriptLoadOptions): Promise<ScriptModule> {
    const known = ["trusted", "signal", "isolate", ...EXECUTION_OPTIONS] as const;
    const { trusted, signal, isolate, ...execution } = checkOptions(options, known, "ScriptModule.load");
    const file = checkPath(path, "path");
    checkSignal(signal, "signal");
    if (trusted !== true) {
      throw new LatentDiffusionError(
        "ERR_TORCHSCRIPT_UNTRUSTED",
        "Loading a TorchScript file runs code of the file; pass { trusted: true } if you trust where it came from",
      );
    }
    checkExecution(execution);
    const timeout = checkIsolate(isolate);
    throwIfAborted(signal);
    if (timeout !== undefined) await tryInChild({ path: file, execution }, timeout, signal);
    const loading = ScriptModule.#load(file, execution);
    return abortableResource(loading, signal, (late) => late.dispose());
  }

  static async #load(file: string, execution: ExecutionOptions): Promise<ScriptModule> {
    await checkScriptFile(file);
    const handle = await settle(() => native().moduleLoad(file), ScriptModule.load);
    return ScriptModule.#start(new ScriptModule(INTERNAL, handle, null), execution);
  }

  /**
   * @internal Compile a network that this package wrote.
   * @param weights by full parameter name; all of them, in the shapes of the spec (callers have checked)
   */
  static async define(
    spec: ModuleSpec,
    weights: ReadonlyMap<string, Weight>,
    options?: ExecutionOptions,
  ): Promise<ScriptModule> {
    const execution = checkOptions(options, EXECUTION_OPTIONS, "ScriptModule.define");
    checkExecution(execution);
    const handle = await settle(() => native().moduleDefine(spec), ScriptModule.define);
    const ordered = native()
      .moduleInfo(handle)
      .parameters.map(({ name }) => {
        const weight = weights.get(name);
        if (!weight) throw new LatentDiffusionError("ERR_CHECKPOINT_INVALID", `No weight for the parameter ${name}`);
        return weight;
      });
    return ScriptModule.#start(new ScriptModule(INTERNAL, handle, ordered), execution);
  }

  static async #start(module: ScriptModule, options: ExecutionOptions): Promise<ScriptModule> {
    const own =
      module.info.parameters.find(({ dtype }) => isFloating(dtype))?.dtype ?? module.info.bakedDtype ?? "float32";
    // A file without a wish keeps each weight's dtype, and is known by the first one's.
    const asStored = module.#weights === null && options.dtype === undefined;
    try {
      const dtype = options.dtype ?? (asStored ? (own as FloatingDType) : "float32");
      const staged = await module.#derive({ device: "cpu", optimize: true, ...options, dtype }, asStored);
      staged.commit();
      return module;
    } catch (error) {
      module.dispose();
      throw error;
    }
  }

  get device(): Device {
    return this.#running().device;
  }

  get dtype(): FloatingDType {
    return this.#running().dtype;
  }

  get optimize(): boolean {
    return this.#running().optimize;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /** @internal The parameters' values by full name; null for a module that was loaded from a TorchScript file. */
  get weights(): ReadonlyMap<string, Weight> | null {
    const weights = this.#weights;
    return weights && new Map(this.info.parameters.map(({ name }, i) => [name, weights[i] as Weight]));
  }

  /** Run `forward`; see {@link call}. */
  forward(...args: readonly ScriptArgument[]): Promise<ScriptResult> {
    return this.call("forward", args);
  }

  /**
   * Run one method on the executor of the module's device. Callers take turns: calls with one signal are one caller's, as are a module's
   * calls without a signal.
   * @param options `signal`: stops waiting at once; what is queued is dropped, what runs is let run out
   * @throws AbortError; LatentDiffusionError `ERR_TORCH` with LibTorch's message, `ERR_OUT_OF_MEMORY`, `ERR_QUEUE_FULL`, `ERR_DISPOSED`
   */
  async call(
    method: string,
    args: readonly ScriptArgument[],
    options?: { signal?: AbortSignal },
  ): Promise<ScriptResult> {
    const { signal } = checkOptions(options, ["signal"], "ScriptModule.call");
    checkSignal(signal, "signal");
    if (!this.info.methods.includes(method))
      throw unexpected(`a method of the module (${this.info.methods.join(", ")})`, "method", method);
    const { handle } = this.#running();
    const lowered = checkArray(args, "an array of arguments", "args", lowerArgument);
    throwIfAborted(signal);
    const flag = signal ? flagOf(signal) : null;
    const forward = settle(() => native().moduleForward(handle, method, lowered, flag), this.call);
    if (!signal || !flag) return raiseResult(await forward);
    return raiseResult(await abortable(forward, signal, () => native().flagSet(flag)));
  }

  /**
   * Derive for another device or dtype, in place; on failure nothing changes.
   * @param targets `"cuda"`, `"bfloat16"`, in either order, or `{ device, dtype, optimize, signal }`
   * @throws AbortError; LatentDiffusionError `ERR_DEVICE_UNAVAILABLE`, `ERR_OUT_OF_MEMORY`, `ERR_CONFIG_UNSUPPORTED` for a trace, `ERR_DISPOSED`
   */
  async to(...targets: readonly ExecutionTarget[]): Promise<this> {
    const { execution, signal } = executionOf(targets);
    const staged = await abortableResource(this.stage(execution), signal, (late) => late.discard());
    staged.commit();
    return this;
  }

  /** The first half of {@link to}, for those who must move several modules or none; the next move waits for the second half. */
  async stage(options?: ExecutionOptions): Promise<StagedExecution> {
    const execution = checkOptions(options, EXECUTION_OPTIONS, "ScriptModule.to");
    checkExecution(execution);
    return this.#moves.take(() => this.#derive(execution, false));
  }

  async #derive(options: ExecutionOptions, asStored: boolean): Promise<StagedExecution> {
    if (this.#disposed) throw disposedError();
    const current = this.#execution;
    const device = checkDevice(options.device ?? current?.device, "device");
    const dtype = checkFloatingDType(options.dtype ?? current?.dtype, "dtype");
    const optimize = checkBoolean(options.optimize ?? current?.optimize, "optimize");
    if (current && current.device === device && current.dtype === dtype && current.optimize === optimize) {
      return { commit: () => undefined, discard: () => undefined };
    }
    this.#checkBaked(device, dtype);
    const target = { device, dtype: asStored ? null : dtype, optimize };
    const handle = await settle(() => native().moduleDerive(this.#module, this.#lowerWeights(), target), this.stage);
    return {
      commit: () => {
        if (this.#disposed) {
          native().dispose(handle);
          return;
        }
        if (this.#execution) native().dispose(this.#execution.handle);
        this.#execution = { handle, device, dtype, optimize };
      },
      discard: () => native().dispose(handle),
    };
  }

  /**
   * Write a file that Python's `torch.jit.load` opens, with stock operators, on the CPU; its name stands for a whole file at any time.
   * @param path in a folder that exists
   * @param options `dtype` of the floating weights, default: as they are stored; `signal`: read before the file is written, and before it
   *   takes its name
   * @throws AbortError; LatentDiffusionError `ERR_IO`, `ERR_DISPOSED`
   */
  async save(path: string | URL, options?: { dtype?: FloatingDType; signal?: AbortSignal }): Promise<void> {
    const { dtype, signal } = checkOptions(options, ["dtype", "signal"], "ScriptModule.save");
    throwIfAborted(checkSignal(signal, "signal"));
    const file = checkPath(path, "path");
    if (this.#disposed) throw disposedError();
    const target = dtype === undefined ? null : checkFloatingDType(dtype, "dtype");
    // Begun before anything is waited for: the module may be disposed next.
    await replaceNamedFile(file, async (temporary) => {
      await settle(() => native().moduleSave(this.#module, this.#lowerWeights(), temporary, target), this.save);
      throwIfAborted(signal);
    });
  }

  /** Free the code and the weights, after what is queued; a second call does nothing. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    if (this.#execution) native().dispose(this.#execution.handle);
    native().dispose(this.#module);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  static {
    markClass(ScriptModule, BRAND, () => undefined);
  }

  [inspect.custom](): string {
    if (this.#disposed) return "ScriptModule(disposed)";
    const count = this.info.parameters.reduce(
      (sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1),
      0,
    );
    return `ScriptModule(${count} parameters, ${this.dtype}, ${this.device}, methods ${this.info.methods.join(", ")})`;
  }

  #running(): Execution {
    if (this.#disposed || !this.#execution) throw disposedError();
    return this.#execution;
  }

  #lowerWeights(): NativeWeight[] | null {
    return this.#weights?.map(lowerWeight) ?? null;
  }

  #checkBaked(device: Device, dtype: FloatingDType): void {
    const { bakedDevice, bakedDtype } = this.info;
    if ((bakedDevice !== null && bakedDevice !== device) || (bakedDtype !== null && bakedDtype !== dtype)) {
      throw new LatentDiffusionError(
        "ERR_CONFIG_UNSUPPORTED",
        `This TorchScript file was traced or frozen for ${bakedDevice ?? device} and ${bakedDtype ?? dtype}, which its code names; ` +
          `for ${device} and ${dtype}, export it again there, or load the diffusers checkpoint instead`,
      );
    }
  }
}

function disposedError(): LatentDiffusionError {
  return new LatentDiffusionError("ERR_DISPOSED", "This module was disposed");
}
