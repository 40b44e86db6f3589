import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { publishedVersion } from "./packages.js";

type Variables = Readonly<Record<string, string | undefined>>;

/**
 * Find this user's cache folder: `LATENT_DIFFUSION_CACHE`, else a folder in the system's place for caches.
 * @param variables of the process, or a test's
 * @returns an absolute path; the folder may not exist
 */
export function userCacheFolder(variables: Variables = process.env): string {
  const named = variables.LATENT_DIFFUSION_CACHE;
  if (named) return resolve(named);
  const home = homedir();
  switch (process.platform) {
    case "win32":
      return join(variables.LOCALAPPDATA || join(home, "AppData", "Local"), "latent-diffusion", "Cache");
    case "darwin":
      return join(home, "Library", "Caches", "latent-diffusion");
    default:
      return join(variables.XDG_CACHE_HOME || join(home, ".cache"), "latent-diffusion");
  }
}

/**
 * Find where `latent-diffusion install cuda` puts LibTorch's CUDA build.
 * @param cache default: this user's
 * @returns the folder that holds `torch/` and `nvidia/`
 */
export function cudaFolder(cache = userCacheFolder()): string {
  return join(cache, `libtorch-${publishedVersion()}-cuda`);
}

/** Where to look for NVIDIA's driver. Tests give other places. */
export interface DriverPlaces {
  /** The kernel module's own words. */
  readonly versionFile: string;
  /** A device that exists where the driver does and `versionFile` may not: in Windows' Linux, and in some containers. */
  readonly devices: readonly string[];
  /** Folders that may hold the driver's user library, in order. */
  readonly libraryFolders: readonly string[];
  /** The name of that library, or how it begins. */
  readonly library: string;
}

const LINUX_PLACES: DriverPlaces = {
  versionFile: "/proc/driver/nvidia/version",
  devices: ["/dev/nvidiactl", "/dev/dxg"],
  libraryFolders: [
    "/usr/lib/wsl/lib",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/nvidia/lib64",
  ],
  library: "libcuda.so",
};

const WINDOWS_PLACES: DriverPlaces = {
  versionFile: "",
  devices: [],
  libraryFolders: [join(process.env.SystemRoot ?? "C:\\Windows", "System32")],
  library: "nvcuda.dll",
};

/**
 * Tell whether NVIDIA's driver is here, and which one, from files alone: CUDA is not started.
 * @param places default: this system's
 * @returns the version, or what else tells one driver from another; undefined where there is no driver
 */
export function cudaDriver(places: DriverPlaces | undefined = systemPlaces()): string | undefined {
  if (places === undefined) return undefined;
  const version = /\s(\d+\.\d[\d.]*)\s/.exec(readText(places.versionFile) ?? "")?.[1];
  if (version !== undefined) return version;
  if (places.devices.length > 0 && !places.devices.some((device) => existsSync(device))) return undefined;
  return places.libraryFolders.map((folder) => describeLibrary(folder, places.library)).find(Boolean);
}

function systemPlaces(): DriverPlaces | undefined {
  if (process.platform === "win32") return WINDOWS_PLACES;
  return process.platform === "linux" ? LINUX_PLACES : undefined;
}

/** The longest name ends in the version (`libcuda.so.580.95.05`); where none does, size and time tell drivers apart. */
function describeLibrary(folder: string, library: string): string | undefined {
  try {
    const names = readdirSync(folder).filter((name) => name.startsWith(library));
    const versioned = names.map((name) => /\.so\.(\d+\.[\d.]+)$/.exec(name)?.[1]).find(Boolean);
    const [first] = names;
    if (versioned !== undefined || first === undefined) return versioned;
    const { size, mtimeMs } = statSync(join(folder, first));
    return `${first} of ${size} bytes, ${new Date(mtimeMs).toISOString()}`;
  } catch {
    return undefined;
  }
}

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}
