import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { LatentDiffusionError } from "../errors.js";
import { explainMissingPackage, findBinaryPackage, PACKAGE_ROOT, publishedVersion } from "./packages.js";

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

/**
 * Find LibTorch: the `libtorch` option, else the variable `LATENT_DIFFUSION_LIBTORCH`, else the npm package, else what setup
 * recorded. An addon that was built here runs over the LibTorch that it was built against, so where there is a record, the package is not asked.
 * Whoever names one means it: a candidate that does not fit is an error, and the next one is not taken in silence.
 * @throws LatentDiffusionError `ERR_LIBTORCH_NOT_FOUND` or `ERR_LIBTORCH_UNSUPPORTED`, listing every candidate and its reason
 */
export function findLibTorch(option: string | undefined): LibTorch {
  const record = readRecord();
  const builtAgainst = record && "version" in record ? record.version : publishedVersion();
  const candidates: [source: string, named: string | Refusal | undefined][] = [
    ["configure({ libtorch })", option],
    ["the environment variable LATENT_DIFFUSION_LIBTORCH", process.env.LATENT_DIFFUSION_LIBTORCH || undefined],
    ["the npm package", record === undefined ? findBinaryPackage("libTorch") : undefined],
    ["the record of `npm run setup`", record && "path" in record ? record.path : record],
  ];
  const report: string[] = [];
  for (const [source, named] of candidates) {
    if (named === undefined) {
      report.push(`${source}: not set`);
      continue;
    }
    const path = typeof named === "string" ? resolve(named) : RECORD_FILE;
    const found = typeof named === "string" ? inspectFolder(path, source, builtAgainst) : named;
    if (!("reason" in found)) return found;
    report.push(`${source}: ${path}: ${found.reason}`);
    throw new LatentDiffusionError(found.code, `LibTorch cannot be used:\n  ${report.join("\n  ")}`);
  }
  throw new LatentDiffusionError(
    "ERR_LIBTORCH_NOT_FOUND",
    `No LibTorch was named:\n  ${report.join("\n  ")}\n${explainMissingPackage("libTorch")}.\nOr run \`npm run setup\` in a checkout, or name the folder of a LibTorch ` +
      `${builtAgainst} (a Python wheel's \`torch\` folder is one).`,
  );
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
  if (minorOf(version) !== minorOf(builtAgainst)) {
    return {
      code: "ERR_LIBTORCH_UNSUPPORTED",
      reason: `it is version ${version}, and the addon was built against ${builtAgainst} (same major and minor version needed)`,
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
      return ["torch_cpu.dll", "libiomp5md.dll", "c10.dll"];
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

function minorOf(version: string): string {
  return version.split(".", 2).join(".");
}
