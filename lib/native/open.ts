import bindings from "bindings";
import { existsSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { basename, dirname, join } from "node:path";
import { isMainThread } from "node:worker_threads";
import { LatentDiffusionError } from "../errors.js";
import { checkInteger, checkOneOf, checkOptions, checkPath } from "../validate.js";
import type { Addon, Device, Loader, WaitPolicy } from "./contract.js";
import { explainUnfitHost, OLDEST_GLIBC, thisHost } from "./host.js";
import { findLibTorch, type LibTorch } from "./libtorch.js";
import { explainMissingPackage, findBinaryPackage, PACKAGE_ROOT } from "./packages.js";

/** Options of the process, not of a pipeline. */
export interface RuntimeOptions {
  /**
   * LibTorch's folder (it holds `lib/`); only before first use, and the same in all workers. Default: `LATENT_DIFFUSION_LIBTORCH`, else
   * the CUDA build that `latent-diffusion install cuda` installed, if it works here, else the npm package, else what setup recorded.
   */
  libtorch?: string | URL;
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
  /**
   * How many forwards may wait for each device; default 1024. One more is refused with `ERR_QUEUE_FULL`, except the next one of a run
   * that has begun. The process's, as `threads` is.
   */
  maxQueue?: number;
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
  readonly devices: readonly Device[];
}

/** What was asked for before LibTorch is opened; read once, as it is opened. */
const wanted: { libtorch?: string; waitPolicy?: WaitPolicy; threads?: number; maxQueue?: number } = {};

/** Where a process notes what its first use asked for, so that workers and other copies of the package know; children have another. */
const POLICY_VARIABLE = `LATENT_DIFFUSION_WAIT_POLICY_${process.pid}`;

let opened: { addon: Addon; libtorch: LibTorch } | undefined;

/**
 * Set the process's options. LibTorch is opened lazily, so the first use is the first tensor or model; where a worker or another copy of
 * this package has opened it, that use throws `ERR_INVALID_STATE` if it was asked for otherwise here.
 * @throws InvalidArgumentError for a wrong option
 * @throws LatentDiffusionError `ERR_INVALID_STATE` if LibTorch is open already and `libtorch` or `waitPolicy` would change
 * @example
 * configure({ threads: 4, waitPolicy: "passive" });
 */
export function configure(options: RuntimeOptions): void {
  const known = ["libtorch", "threads", "waitPolicy", "maxQueue"] as const;
  const { threads, waitPolicy, maxQueue, ...given } = checkOptions(options, known, "configure");
  const libtorch = given.libtorch === undefined ? undefined : checkPath(given.libtorch, "libtorch");
  if (waitPolicy !== undefined) checkOneOf<WaitPolicy>(waitPolicy, "waitPolicy", ["balanced", "active", "passive"]);
  // More threads than cores only wait for each other; the limit leaves room for containers that hide cores.
  if (threads !== undefined) checkInteger(threads, "threads", 1, Math.max(64, 4 * availableParallelism()));
  if (maxQueue !== undefined) checkInteger(maxQueue, "maxQueue", 1);
  for (const [name, value] of Object.entries({ libtorch, waitPolicy })) {
    if (value === undefined || !openedLibTorch() || value === wanted[name as "libtorch"]) continue;
    throw new LatentDiffusionError(
      "ERR_INVALID_STATE",
      `configure({ ${name} }) must come before the first tensor or model: LibTorch is open already`,
    );
  }
  if (libtorch !== undefined) wanted.libtorch = libtorch;
  if (waitPolicy !== undefined) wanted.waitPolicy = waitPolicy;
  if (threads !== undefined) wanted.threads = threads;
  if (maxQueue !== undefined) wanted.maxQueue = maxQueue;
  // LibTorch is not opened for this: the next configure() may still say which.
  if (opened) applySettings(opened.addon, { threads, maxQueue });
}

function applySettings(addon: Addon, { threads, maxQueue }: Pick<RuntimeOptions, "threads" | "maxQueue">): void {
  if (threads !== undefined) addon.setThreads(threads);
  if (maxQueue !== undefined) addon.setMaxQueue(maxQueue);
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
  const devices = ["cpu", ...Array.from({ length: cudaDevices }, (_, index) => `cuda:${index}` as const)] as const;
  return { libtorch: { path, version, source, cuda }, builtWith, cpuCapability, threads, devices };
}

/**
 * Open LibTorch and the addon on first use.
 * @throws LatentDiffusionError `ERR_LIBTORCH_NOT_FOUND`, `ERR_LIBTORCH_UNSUPPORTED` or `ERR_ADDON_NOT_FOUND`; `ERR_INVALID_STATE` where the
 *   process has opened another one
 */
export function native(): Addon {
  opened ??= open();
  return opened.addon;
}

/** The LibTorch in use; undefined until something needed it. */
export function openedLibTorch(): LibTorch | undefined {
  return opened?.libtorch;
}

function open(): { addon: Addon; libtorch: LibTorch } {
  const loader = loadAddon("libtorch_loader") as Loader;
  const libtorch = findLibTorch(wanted.libtorch);
  const before = loader.opened(basename(libtorch.cpuLibrary));
  if (before !== null) joinOpened(loader, libtorch, before);
  else {
    const policy = wanted.waitPolicy ?? "balanced";
    for (const [name, value] of Object.entries({ ...waitVariables(policy), [POLICY_VARIABLE]: policy }))
      loader.setEnvironment(name, value);
  }
  for (const library of libtorch.libraries) {
    const reason = loader.open(library);
    if (reason !== null) {
      throw new LatentDiffusionError(
        "ERR_LIBTORCH_UNSUPPORTED",
        `LibTorch at ${libtorch.path} (${libtorch.source}) cannot be opened: ${reason}`,
      );
    }
  }
  const addon = loadAddon("latent_diffusion") as Addon;
  applySettings(addon, wanted);
  // Node runs no cleanup hooks on process.exit() in the main thread; a worker's end must not stop the others' executors.
  if (isMainThread) shutDownAtExit((code) => addon.shutdown(code));
  return { addon, libtorch };
}

/** The process's own list, for all copies and reloads of the package: what each has to shut down, by the copy's folder. */
const AT_EXIT = Symbol.for("latent-diffusion.shutdown.1");

/** However often the package is loaded again, the process has one listener. */
function shutDownAtExit(shutdown: (code: number) => void): void {
  const owner = process as { [AT_EXIT]?: Map<string, (code: number) => void> };
  let registered = owner[AT_EXIT];
  if (registered === undefined) {
    const all = new Map<string, (code: number) => void>();
    process.once("exit", (code) => all.forEach((each) => each(code)));
    registered = owner[AT_EXIT] = all;
  }
  registered.set(PACKAGE_ROOT, shutdown);
}

/**
 * Check that what was asked for is what a worker, the main thread or another copy of this package opened before: a second LibTorch
 * would abort the process, and how its threads wait is settled.
 * @param before the path of the CPU library that is open
 * @throws LatentDiffusionError `ERR_INVALID_STATE`
 */
function joinOpened(loader: Loader, libtorch: LibTorch, before: string): void {
  if (realPath(before) !== realPath(libtorch.cpuLibrary)) {
    throw new LatentDiffusionError(
      "ERR_INVALID_STATE",
      `Expected the LibTorch that this process has opened, ${dirname(dirname(before))}, but received ${libtorch.path} (${libtorch.source}): ` +
        "a process holds one, for its workers and all copies of this package; name the same folder everywhere",
    );
  }
  const policy = wanted.waitPolicy;
  const found = loader.environment(POLICY_VARIABLE);
  if (policy === undefined || found === null || policy === found) return;
  throw new LatentDiffusionError(
    "ERR_INVALID_STATE",
    `configure({ waitPolicy: "${policy}" }) comes too late: this process has opened LibTorch with "${found}"`,
  );
}

/** Two ways may lead to one folder. */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/**
 * Spinning threads answer sooner but take the cores from a busy event loop, which then slows each step several times;
 * "balanced" spins for about a tenth of a millisecond. Measured with the full-size network: with three times as much, a step
 * beside a busy event loop takes a sixth longer, and an idle one no less.
 */
function waitVariables(policy: WaitPolicy): Record<string, string> {
  switch (policy) {
    case "active":
      return {};
    case "passive":
      return { OMP_WAIT_POLICY: "PASSIVE" };
    case "balanced":
      return { GOMP_SPINCOUNT: "3000" };
  }
}

/**
 * Try to lock an open file until it is closed; LibTorch is not opened for this.
 * @param fd of a file that is open for writing
 * @returns whether it is locked now; null where the file system, or the platform, has no such locks
 * @see filelock.FileLock
 */
export function tryLock(fd: number): boolean | null {
  try {
    return (loadAddon("libtorch_loader") as Loader).lock(fd);
  } catch {
    // Without the addon nothing can be computed, but a download works: its correctness does not rest on locks.
    return null;
  }
}

/** What was built here wins over a package: whoever builds means to use it. */
function loadAddon(name: string): unknown {
  const prebuilt = existsSync(join(PACKAGE_ROOT, "build")) ? undefined : findBinaryPackage("addon");
  try {
    if (prebuilt !== undefined) return createRequire(join(prebuilt, "package.json"))(`./${name}.node`);
    return bindings({ bindings: name, module_root: PACKAGE_ROOT });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new LatentDiffusionError("ERR_ADDON_NOT_FOUND", `${explainAddon(name, prebuilt, reason)}: ${reason}`, {
      cause: error,
    });
  }
}

function explainAddon(name: string, prebuilt: string | undefined, reason: string): string {
  const message = `The native addon ${name}.node cannot be loaded from ${prebuilt ?? PACKAGE_ROOT}`;
  // npm checks the platform and musl, and no versions.
  const unfit = /GLIBC|musl|not found|wrong ELF/i.test(reason) ? explainUnfitHost(thisHost()) : undefined;
  if (unfit !== undefined) return `${message}. ${unfit}`;
  if (/GLIBC(XX)?_[\d.]+' not found/.test(reason))
    return `${message}: it needs glibc ${OLDEST_GLIBC} and the C++ library of GCC 8, or later. Use a newer system, or a container: \`docker run -it node:22-slim\``;
  if (prebuilt !== undefined) return message;
  if (existsSync(join(PACKAGE_ROOT, "build")))
    return `${message}; run \`npm run setup\` in a checkout, and install that one (npm install <its folder>)`;
  return `${message}. ${explainMissingPackage("addon")}`;
}
