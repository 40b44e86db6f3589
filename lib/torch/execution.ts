import { throwIfAborted } from "../errors.js";
import type { Device } from "../native/contract.js";
import { checkOptions, checkSignal, unexpected } from "../validate.js";
import { checkDevice, checkExecution, FLOATING_DTYPES, type FloatingDType } from "./device.js";

/** How a module is made executable. */
export interface ExecutionOptions {
  /** Where it runs; default `"cpu"`. */
  device?: Device;
  /** What it computes in; default `"float32"`. */
  dtype?: FloatingDType;
  /** Default true: freeze and rewrite the graph for speed; false: bit for bit what eager PyTorch computes. */
  optimize?: boolean;
}

export const EXECUTION_OPTIONS = ["device", "dtype", "optimize"] as const;

/** A derived executable that stands ready; `commit` swaps it in, `discard` lets it go. */
export interface StagedExecution {
  commit(): void;
  discard(): void;
}

/** Moves that wait for each other, so that the last one asked for wins. */
export class MoveQueue {
  /** Settled when the last move has ended. */
  #last: Promise<unknown> = Promise.resolve();

  /** Derive when every earlier move has ended; the next move waits until this one is committed or discarded. */
  async take(derive: () => Promise<StagedExecution>): Promise<StagedExecution> {
    const before = this.#last;
    let end = (): void => undefined;
    this.#last = new Promise<void>((resolve) => {
      end = resolve;
    });
    await before;
    try {
      const { commit, discard } = await derive();
      return {
        commit: () => {
          commit();
          end();
        },
        discard: () => {
          discard();
          end();
        },
      };
    } catch (error) {
      end();
      throw error;
    }
  }
}

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
