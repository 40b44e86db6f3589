import { closeSync, existsSync, openSync, readSync } from "node:fs";

/** The oldest glibc that prebuilt binaries run on: manylinux_2_28. */
export const OLDEST_GLIBC = "2.28";

/** What decides whether prebuilt binaries can run on a machine. Tests give machines of their own. */
export interface Host {
  /** Such as `linux-x64`. */
  readonly platform: string;
  /** Undefined outside Linux, and where it cannot be told. */
  readonly libc: "glibc" | "musl" | undefined;
  /** Such as `2.36`. */
  readonly glibcVersion?: string | undefined;
  /** The CPU's instruction sets by their names in /proc/cpuinfo; undefined where they cannot be told. */
  readonly instructions?: ReadonlySet<string> | undefined;
}

/** Look at the machine that this runs on. */
export function thisHost(): Host {
  const platform = `${process.platform}-${process.arch}`;
  if (process.platform !== "linux") return { platform, libc: undefined };
  return { platform, ...findLibc(), instructions: readInstructions() };
}

function findLibc(): Pick<Host, "libc" | "glibcVersion"> {
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
  const glibcVersion = report?.header?.glibcVersionRuntime;
  if (glibcVersion !== undefined) return { libc: "glibc", glibcVersion };
  // Bun and Deno make no report; there, musl is told by a file of Alpine's.
  const isNode = process.versions.bun === undefined && !("deno" in process.versions) && report?.header !== undefined;
  return { libc: isNode || existsSync("/etc/alpine-release") ? "musl" : undefined };
}

/** The flags of the first processor: they are in the first kilobytes of a file that can be long. */
function readInstructions(): ReadonlySet<string> | undefined {
  try {
    const file = openSync("/proc/cpuinfo", "r");
    const bytes = Buffer.alloc(8192);
    const length = readSync(file, bytes);
    closeSync(file);
    const line = /^(?:flags|Features)\s*:(.*)\n/m.exec(bytes.toString("latin1", 0, length))?.[1];
    return line === undefined ? undefined : new Set(line.trim().split(/\s+/));
  } catch {
    return undefined;
  }
}

/**
 * Say why prebuilt binaries cannot run on a machine, whatever is installed.
 * @returns the cause and the command that mends it; undefined if nothing speaks against them
 */
export function explainUnfitHost(host: Host): string | undefined {
  const { libc, glibcVersion } = host;
  if (libc === "musl") {
    return (
      "This system has musl (Alpine Linux), and the binaries need glibc: PyTorch has no build for musl. Use an image with glibc: " +
      "`FROM node:22-slim` instead of `FROM node:22-alpine`"
    );
  }
  if (glibcVersion !== undefined && isOlder(glibcVersion, OLDEST_GLIBC)) {
    return (
      `This system has glibc ${glibcVersion}, and the binaries need ${OLDEST_GLIBC} or later (Debian 10, Ubuntu 18.10, RHEL 8). ` +
      "Use a newer system, or a container: `docker run -it node:22-slim`"
    );
  }
  return undefined;
}

/** What sharp's prebuilt binaries use without asking (x86-64-v2). LibTorch and this package's kernels ask, and do without. */
const NEEDED_BY_SHARP = ["ssse3", "sse4_1", "sse4_2"];

/**
 * Say why pictures cannot be written on a CPU: sharp would end the process with SIGILL as it is loaded.
 * @param host default: this machine
 * @returns the cause and what mends it; undefined if nothing speaks against it
 */
export function explainUnfitCpu({ platform, instructions }: Host = thisHost()): string | undefined {
  const needed = platform === "linux-x64" ? NEEDED_BY_SHARP : [];
  const missing = needed.filter((name) => instructions?.has(name) === false);
  if (missing.length === 0) return undefined;
  return (
    `this CPU lacks ${missing.join(", ")}, which sharp needs. A virtual machine often hides what its host has: start it with the host's CPU ` +
    "(`qemu-system-x86_64 -cpu host`; in Proxmox and libvirt, the CPU type `host`)"
  );
}

function isOlder(version: string, than: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [thanMajor = 0, thanMinor = 0] = than.split(".").map(Number);
  return major < thanMajor || (major === thanMajor && minor < thanMinor);
}
