import { abortableResource } from "../errors.js";
import type { Device } from "../native/contract.js";
import type { FloatingDType } from "../torch/device.js";
import { type ExecutionOptions, executionOf, type ExecutionTarget, type StagedExecution } from "../torch/execution.js";
import type { ScriptModule } from "../torch/script-module.js";

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
