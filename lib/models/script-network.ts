import { checkDevice, checkExecution, FLOATING_DTYPES, type FloatingDType } from "../torch/device.js";
import { abortableResource, throwIfAborted } from "../errors.js";
import type { Device } from "../native/contract.js";
import {
  EXECUTION_OPTIONS,
  type ExecutionOptions,
  type ScriptModule,
  type StagedExecution,
} from "../torch/script-module.js";
import { checkOptions, checkSignal, unexpected } from "../validate.js";

/** Options of `to`. */
export interface MoveOptions extends ExecutionOptions {
  /** Ends the wait at once, with an AbortError, and leaves everything where it was. */
  signal?: AbortSignal;
}

/** Where a network moves to: a device, a dtype, or both, or an object of options. */
export type ExecutionTarget = Device | FloatingDType | MoveOptions;

/** Read the targets of `to`: names of a device and a dtype in either order, or options. */
export function executionOf(targets: readonly ExecutionTarget[]): {
  execution: ExecutionOptions;
  signal?: AbortSignal;
} {
  const { signal, ...execution } = mergeTargets(targets);
  checkExecution(execution);
  throwIfAborted(checkSignal(signal, "signal"));
  return { execution, signal };
}

function mergeTargets(targets: readonly ExecutionTarget[]): MoveOptions {
  const execution: MoveOptions = {};
  for (const target of targets) {
    if (typeof target === "object")
      Object.assign(execution, checkOptions(target, [...EXECUTION_OPTIONS, "signal"], "to"));
    else if (typeof target === "string" && /^(cpu|cuda)/.test(target)) execution.device = checkDevice(target, "device");
    else if (FLOATING_DTYPES.some((dtype) => dtype === target)) execution.dtype = target as FloatingDType;
    else
      throw unexpected(
        `"cpu", "cuda", "cuda:<index>", ${FLOATING_DTYPES.map((dtype) => `"${dtype}"`).join(", ")} or an object of options`,
        "to",
        target,
      );
  }
  return execution;
}

/** A network that runs one TorchScript module: where it is, how it moves, how it is let go. */
export abstract class ScriptNetwork {
  /** The network itself, for `save` to a TorchScript file. */
  readonly module: ScriptModule;

  protected constructor(module: ScriptModule) {
    this.module = module;
  }

  get device(): Device {
    return this.module.device;
  }

  /** What it computes in. */
  get dtype(): FloatingDType {
    return this.module.dtype;
  }

  get optimize(): boolean {
    return this.module.optimize;
  }

  get disposed(): boolean {
    return this.module.disposed;
  }

  /**
   * Move to a device, a dtype, or both, in place; on failure the old state stands.
   * @param targets `"cuda"`, `"bfloat16"`, in either order, or `{ device, dtype, optimize, signal }`
   * @throws AbortError; LatentDiffusionError `ERR_DEVICE_UNAVAILABLE`, `ERR_OUT_OF_MEMORY`, `ERR_DISPOSED`; `ERR_CONFIG_UNSUPPORTED` for a trace, which
   *   takes only its own
   */
  async to(...targets: readonly ExecutionTarget[]): Promise<this> {
    const { execution, signal } = executionOf(targets);
    const staged = await abortableResource(this.stage(execution), signal, (late) => late.discard());
    staged.commit();
    return this;
  }

  /** The first half of {@link to}, for those who must move several networks or none. */
  stage(options: ExecutionOptions): Promise<StagedExecution> {
    return this.module.stage(options);
  }

  /** Free the weights, after what is queued; a second call does nothing. */
  dispose(): void {
    this.module.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
