import { availableParallelism } from "node:os";
import { LatentDiffusionError } from "../errors.js";
import { native, openedLibTorch, openingOptions, type WaitPolicy } from "./contract.js";
import { checkInteger, checkOneOf, checkOptions, checkString } from "../validate.js";

/** Options of the process, not of a pipeline. */
export interface RuntimeOptions {
  /**
   * LibTorch's folder (it holds `lib/`); only before first use, and the same in all workers. Default: `LATENT_DIFFUSION_LIBTORCH`, else
   * what setup recorded.
   */
  libtorch?: string;
  /**
   * Intra-op threads on the CPU; default: `OMP_NUM_THREADS`, else the number of cores. Bits may depend on it. Workers share the one
   * executor, so it is the process's: the last call decides for all.
   */
  threads?: number;
  /**
   * How idle compute threads wait; only before first use, and the same in all workers. `"passive"` leaves the most to a busy event loop,
   * `"active"` the least.
   */
  waitPolicy?: WaitPolicy;
}

/** What runs here. */
export interface RuntimeInfo {
  readonly libtorch: {
    readonly path: string;
    readonly version: string;
    readonly source: string;
    readonly cuda: boolean;
  };
  /** The LibTorch version that the addon was compiled against. */
  readonly builtWith: string;
  /** The instruction set of LibTorch's kernels, as `torch.backends.cpu.get_cpu_capability()`. */
  readonly cpuCapability: string;
  readonly threads: number;
  /** Usable devices: `"cpu"`, then `"cuda:0"`... */
  readonly devices: readonly string[];
}

/**
 * Set the process's options. LibTorch is opened lazily, so the first use is the first tensor or model; where a worker or another copy of
 * this package has opened it, that use throws `ERR_INVALID_STATE` if it was asked for otherwise here.
 * @throws InvalidArgumentError for a wrong option
 * @throws LatentDiffusionError `ERR_INVALID_STATE` if LibTorch is open already and `libtorch` or `waitPolicy` would change
 */
export function configure(options: RuntimeOptions): void {
  const { libtorch, threads, waitPolicy } = checkOptions(options, ["libtorch", "threads", "waitPolicy"], "configure");
  if (libtorch !== undefined) checkString(libtorch, "libtorch");
  if (waitPolicy !== undefined) checkOneOf<WaitPolicy>(waitPolicy, "waitPolicy", ["balanced", "active", "passive"]);
  // More threads than cores only wait for each other; the limit leaves room for containers that hide cores.
  if (threads !== undefined) checkInteger(threads, "threads", 1, Math.max(64, 4 * availableParallelism()));
  for (const [name, value] of Object.entries({ libtorch, waitPolicy })) {
    if (value === undefined || !openedLibTorch() || value === openingOptions[name as "libtorch"]) continue;
    throw new LatentDiffusionError(
      "ERR_INVALID_STATE",
      `configure({ ${name} }) must come before the first tensor or model: LibTorch is open already`,
    );
  }
  if (libtorch !== undefined) openingOptions.libtorch = libtorch;
  if (waitPolicy !== undefined) openingOptions.waitPolicy = waitPolicy;
  if (threads === undefined) return;
  openingOptions.threads = threads;
  // LibTorch is not opened for this: the next configure() may still say which.
  if (openedLibTorch()) native().setThreads(threads);
}

/**
 * Say which LibTorch is in use and who named it, and what it can run on. Opens LibTorch.
 * @throws LatentDiffusionError `ERR_LIBTORCH_NOT_FOUND`, `ERR_LIBTORCH_UNSUPPORTED`, `ERR_ADDON_NOT_FOUND`, `ERR_INVALID_STATE`
 */
export function runtimeInfo(): RuntimeInfo {
  const { builtWith, cpuCapability, cudaDevices, threads } = native().runtimeInfo();
  const libtorch = openedLibTorch();
  if (!libtorch) throw new LatentDiffusionError("ERR_INTERNAL", "LibTorch is open and nobody knows which");
  const { path, version, source, cuda } = libtorch;
  const devices = ["cpu", ...Array.from({ length: cudaDevices }, (_, index) => `cuda:${index}`)];
  return { libtorch: { path, version, source, cuda }, builtWith, cpuCapability, threads, devices };
}
