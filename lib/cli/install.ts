import { cudaVerdict, type CudaVerdict, forgetVerdict } from "../native/cuda-trial.js";
import { PLATFORM } from "../native/packages.js";
import { cudaDriver, cudaFolder } from "../native/user-cache.js";
import type { Invocation, Values } from "./command.js";
import type { INSTALL_TABLE } from "./commands.js";
import { installCuda } from "./cuda/install-cuda.js";
import { CUDA_BUILDS, type CudaBuild } from "./cuda/wheels.js";
import { CommandError, EXIT, UsageError } from "./failure.js";
import { formatBytes, type ProgressBar, type Terminal } from "./terminal.js";
import { join } from "node:path";

/**
 * Install LibTorch's CUDA build into the user's cache, and try it.
 * @returns 0 if it works, or if there is no driver to try it with; 1 if the trial failed
 * @throws UsageError for anything but `cuda`; CommandError `ERR_SOURCE_UNKNOWN`, `ERR_DOWNLOAD_FAILED`, `ERR_DISK_FULL`, `ERR_PLATFORM_UNSUPPORTED`
 */
export async function install(
  { from, url, json }: Values<typeof INSTALL_TABLE> & { readonly json?: boolean },
  { operands, terminal, signal }: Invocation,
): Promise<number> {
  const [what] = operands;
  if (what !== "cuda")
    throw new UsageError(
      `Expected cuda for install but received ${what === undefined ? "nothing" : `"${what}"`}`,
      "install",
    );
  if (url !== undefined && !/^https?:\/\//.test(url))
    throw new UsageError(`Expected an address that begins with https:// for --url but received "${url}"`, "install");
  const build = buildFor(PLATFORM);
  const folder = cudaFolder();
  const isNew = await withBars(terminal, (bars) => installCuda(build, { folder, from, url, signal, ...bars }));
  const path = join(folder, "torch");
  const driver = cudaDriver();
  const verdict = driver === undefined ? undefined : tryAgain({ path, version: build.version, driver }, terminal);
  const report = { path, version: build.version, installed: isNew, driver: driver ?? null, verdict: verdict ?? null };
  await terminal.result(json ? JSON.stringify(report) : describe(path, isNew, verdict));
  return verdict?.usable === false ? EXIT.failed : EXIT.done;
}

/** @throws CommandError `ERR_PLATFORM_UNSUPPORTED` */
function buildFor(platform: string): CudaBuild {
  const build = CUDA_BUILDS[platform];
  if (build !== undefined) return build;
  throw new CommandError(
    "ERR_PLATFORM_UNSUPPORTED",
    `install cuda knows the wheels of ${Object.keys(CUDA_BUILDS).join(", ")} only, and this is ${platform}`,
    "Install a CUDA build of torch with pip, and set LATENT_DIFFUSION_LIBTORCH to its `torch` folder.",
  );
}

/** Whoever installs again means to try again: a graphics card may have been busy. */
function tryAgain(candidate: { path: string; version: string; driver: string }, terminal: Terminal): CudaVerdict {
  terminal.note(`Trying it with driver ${candidate.driver} ...`);
  forgetVerdict(candidate);
  return cudaVerdict(candidate);
}

function describe(path: string, isNew: boolean, verdict: CudaVerdict | undefined): string {
  const what = `${isNew ? "Installed" : "Already installed"}: ${path}`;
  if (verdict === undefined)
    return `${what}\nNVIDIA's driver is not here, so it was not tried. The CPU build stays in use.`;
  if (verdict.usable)
    return `${what}\nIt works: ${verdict.reason}. It is used from now on; select it with \`--device cuda\`.`;
  return `${what}\nIt does not work here: ${verdict.reason}. The CPU build stays in use.`;
}

interface Bars {
  readonly onStage: (stage: "download" | "unpack", bytes: number) => void;
  readonly onBytes: (count: number) => void;
}

/** One bar for downloading and checking, then one for unpacking. */
async function withBars<T>(terminal: Terminal, work: (bars: Bars) => Promise<T>): Promise<T> {
  let bar: ProgressBar | undefined;
  let done = 0;
  const onStage: Bars["onStage"] = (stage, bytes) => {
    bar?.clear();
    done = 0;
    const verb = stage === "download" ? "received and checked" : "unpacked";
    bar = terminal.progress(bytes, (count) => `${formatBytes(count)} of ${formatBytes(bytes)} ${verb}`);
  };
  const onBytes: Bars["onBytes"] = (count) => bar?.update((done += count));
  try {
    return await work({ onStage, onBytes });
  } finally {
    bar?.clear();
  }
}
