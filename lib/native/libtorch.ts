import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { LatentDiffusionError } from "../errors.js";
import { cudaVerdict, type TrialOptions } from "./cuda-trial.js";
import { explainMissingPackage, findBinaryPackage, PACKAGE_ROOT, publishedVersion } from "./packages.js";
import { cudaDriver, cudaFolder } from "./user-cache.js";

export { PACKAGE_ROOT };

/** A LibTorch that can be opened. */
export interface LibTorch {
  /** The folder that holds `lib/`: a Python wheel's `torch` folder, or an unpacked LibTorch archive. */
  readonly path: string;
  readonly version: string;
  /** Who named it. */
  readonly source: string;
  /** Whether it is a CUDA build. */
  readonly cuda: boolean;
  /** Absolute paths, in the order in which they must be opened. */
  readonly libraries: readonly string[];
  /** The one of them that everything else hangs on. */
  readonly cpuLibrary: string;
}

/** The record of `scripts/setup.mjs`: what it found, and what the addon was therefore built against. */
interface SetupRecord {
  readonly path: string;
  readonly version: string;
}

const RECORD_FILE = join(PACKAGE_ROOT, "build", "libtorch.json");

/** A place where LibTorch may be. */
interface Place {
  readonly source: string;
  /** Absolute; undefined where nothing is named. */
  readonly path: string | undefined;
  /** Look what is there; undefined where nothing is named. */
  readonly inspect: () => LibTorch | Refusal | undefined;
  /** Whether the next place is tried if this one does not fit: nobody named it. */
  readonly isOptional?: boolean;
}

/** Where the CUDA build is looked for. Tests give another cache, driver and program. */
export interface CudaCache extends TrialOptions {
  /** The version of NVIDIA's driver; undefined: none is here, so no CUDA build is of use. */
  readonly driver: string | undefined;
  /** The folder that holds `torch/`. */
  readonly folder: string;
}

/**
 * Find LibTorch: the `libtorch` option, else the variable `LATENT_DIFFUSION_LIBTORCH`, else the CUDA cache if a driver is here, else the npm
 * package, else what setup recorded. An addon that was built here runs over the LibTorch that it was built against, so where there is a record,
 * the package is not asked. A candidate that is named but does not fit is an error, and the next one is not taken; nobody names the CUDA
 * cache, so if it does not work, the CPU build is taken.
 * @throws LatentDiffusionError `ERR_LIBTORCH_NOT_FOUND` or `ERR_LIBTORCH_UNSUPPORTED`, listing every candidate and its reason
 */
export function findLibTorch(option: string | undefined, cudaCache?: CudaCache): LibTorch {
  const report: string[] = [];
  for (const { source, path, inspect, isOptional } of placesOf(option, cudaCache)) {
    const found = inspect();
    if (found === undefined) {
      report.push(`${source}: not set`);
      continue;
    }
    if (!("reason" in found)) return found;
    report.push(`${source}: ${path}: ${found.reason}`);
    if (isOptional) continue;
    throw new LatentDiffusionError(found.code, `LibTorch cannot be used:\n  ${report.join("\n  ")}`);
  }
  throw new LatentDiffusionError(
    "ERR_LIBTORCH_NOT_FOUND",
    `No LibTorch was named:\n  ${report.join("\n  ")}\n${explainMissingPackage("libTorch")}.\nOr run \`npm run setup\` in a checkout, or name the folder of a LibTorch ` +
      `${publishedVersion()} (a Python wheel's \`torch\` folder is one).`,
  );
}

/** One place where LibTorch was looked for, as `doctor` shows it. */
export interface LibTorchCandidate {
  /** Who named it. */
  readonly source: string;
  /** Absolute; null where nothing was named. */
  readonly path: string | null;
  readonly version: string | null;
  /** `"usable"`, `"not set"`, or why it is refused. */
  readonly verdict: string;
  /** Whether it is the one that {@link findLibTorch} takes. */
  readonly chosen: boolean;
}

/**
 * List every place where LibTorch is looked for, in the order of precedence. Opens nothing in this process; a CUDA build that has no verdict
 * yet is tried in a child.
 * @param option what `configure({ libtorch })` was given
 */
export function libTorchCandidates(option?: string, cudaCache?: CudaCache): readonly LibTorchCandidate[] {
  let decided = false;
  return placesOf(option, cudaCache).map(({ source, path = null, inspect, isOptional }) => {
    const found = inspect();
    if (found === undefined) return { source, path, version: null, verdict: "not set", chosen: false };
    const chosen = !decided && !("reason" in found);
    decided ||= chosen || !isOptional;
    if ("reason" in found)
      return { source, path, version: readVersion(path ?? "") ?? null, verdict: found.reason, chosen };
    return { source, path, version: found.version, verdict: "usable", chosen };
  });
}

function placesOf(option: string | undefined, cudaCache: CudaCache = userCudaCache()): readonly Place[] {
  const record = readRecord();
  const builtAgainst = record && "version" in record ? record.version : publishedVersion();
  const place = (source: string, given: string | Refusal | undefined): Place => {
    if (given === undefined) return { source, path: undefined, inspect: () => undefined };
    if (typeof given !== "string") return { source, path: RECORD_FILE, inspect: () => given };
    const path = resolve(given);
    return { source, path, inspect: () => inspectFolder(path, source, builtAgainst) };
  };
  return [
    place("configure({ libtorch })", option),
    place("the environment variable LATENT_DIFFUSION_LIBTORCH", process.env.LATENT_DIFFUSION_LIBTORCH || undefined),
    cudaPlace(cudaCache, builtAgainst),
    place("the npm package", record === undefined ? findBinaryPackage("libTorch") : undefined),
    place("the record of `npm run setup`", record && "path" in record ? record.path : record),
  ];
}

function userCudaCache(): CudaCache {
  return { driver: cudaDriver(), folder: cudaFolder() };
}

/** What `latent-diffusion install cuda` installed. Its version is checked before it is tried. */
function cudaPlace({ driver, folder, ...options }: CudaCache, builtAgainst: string): Place {
  const source = "the CUDA cache";
  const path = join(folder, "torch");
  if (driver === undefined || !existsSync(folder)) return { source, path: undefined, inspect: () => undefined };
  const inspect = (): LibTorch | Refusal => {
    const found = inspectFolder(path, source, builtAgainst);
    if ("reason" in found) return found;
    const { usable, reason } = cudaVerdict({ path, version: found.version, driver }, options);
    return usable ? found : { code: "ERR_LIBTORCH_UNSUPPORTED", reason };
  };
  return { source, path, inspect, isOptional: true };
}

function readRecord(): SetupRecord | Refusal | undefined {
  if (!existsSync(RECORD_FILE)) return undefined;
  const record = parseRecord(readFileSync(RECORD_FILE, "utf8"));
  const fits =
    typeof record === "object" &&
    record !== null &&
    "path" in record &&
    typeof record.path === "string" &&
    "version" in record &&
    typeof record.version === "string";
  if (fits) return { path: String(record.path), version: String(record.version) };
  return { code: "ERR_LIBTORCH_NOT_FOUND", reason: "it is damaged; `npm run setup` writes it anew" };
}

function parseRecord(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

interface Refusal {
  readonly code: "ERR_LIBTORCH_NOT_FOUND" | "ERR_LIBTORCH_UNSUPPORTED";
  readonly reason: string;
}

/** Look at a folder without opening any library: what does not fit must not be loaded into the process. */
function inspectFolder(path: string, source: string, builtAgainst: string): LibTorch | Refusal {
  const [cpu = "", ...others] = libraryNames();
  if (!existsSync(join(path, "lib", cpu))) {
    return { code: "ERR_LIBTORCH_NOT_FOUND", reason: `it holds no lib/${cpu}` };
  }
  const version = readVersion(path);
  if (version === undefined) {
    return { code: "ERR_LIBTORCH_UNSUPPORTED", reason: "its version cannot be told (no version.py, no build-version)" };
  }
  if (patchOf(version) !== patchOf(builtAgainst)) {
    return {
      code: "ERR_LIBTORCH_UNSUPPORTED",
      reason: `it is version ${version}, and the addon was built against ${builtAgainst} (the same version is needed)`,
    };
  }
  const libraries = [...others, cpu, ...cudaLibraryNames()]
    .map((name) => join(path, "lib", name))
    .filter((file) => existsSync(file));
  const cuda = libraries.some((file) => file.includes("torch_cuda"));
  return { path, version, source, cuda, libraries, cpuLibrary: join(path, "lib", cpu) };
}

/** The CPU library, then those that it needs, which must be opened before it. */
function libraryNames(): readonly string[] {
  switch (process.platform) {
    case "win32":
      return ["torch_cpu.dll", "uv.dll", "libiomp5md.dll", "c10.dll"];
    case "darwin":
      return ["libtorch_cpu.dylib", "libomp.dylib", "libc10.dylib"];
    default:
      return ["libtorch_cpu.so", "libgomp.so.1", "libc10.so"];
  }
}

/** Absent from a CPU build. Opening them registers CUDA; their run paths find cuDNN, cuBLAS and the rest. */
function cudaLibraryNames(): readonly string[] {
  return process.platform === "win32" ? ["c10_cuda.dll", "torch_cuda.dll"] : ["libc10_cuda.so", "libtorch_cuda.so"];
}

function readVersion(path: string): string | undefined {
  const wheel = join(path, "version.py");
  if (existsSync(wheel)) return /__version__\s*=\s*'([^']+)'/.exec(readFileSync(wheel, "utf8"))?.[1];
  const archive = join(path, "build-version");
  return existsSync(archive) ? readFileSync(archive, "utf8").trim() : undefined;
}

/** `"2.13.0"` of `"2.13.0+cpu"`. */
function patchOf(version: string): string {
  return version.replace(/[^\d.].*$/, "");
}
