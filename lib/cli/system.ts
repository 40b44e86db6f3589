import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { availableParallelism, cpus, freemem, release, totalmem } from "node:os";
import { cudaDriver } from "../native/user-cache.js";

/** The instruction sets that decide which kernels run, by their names in /proc/cpuinfo. */
const FLAGS = ["avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "bf16", "sve"];

/** The machine, as a bug report should name it. */
export interface SystemReport {
  readonly platform: string;
  readonly runtime: string;
  /** `glibc 2.36`, or undefined where there is none. */
  readonly libc: string | undefined;
  readonly cpu: { readonly model: string; readonly cores: number; readonly instructions: readonly string[] };
  /** In bytes; `limit` is the container's, where it has one. */
  readonly memory: { readonly total: number; readonly free: number; readonly limit: number | undefined };
  readonly gpus: readonly string[];
  /** NVIDIA's, told from files; undefined where there is none. */
  readonly gpuDriver: string | undefined;
}

/** Look at the machine; what cannot be told is left out, nothing is thrown. */
export async function inspectSystem(): Promise<SystemReport> {
  return {
    platform: `${process.platform}-${process.arch} ${release()}`,
    runtime: runtimeName(),
    libc: libcName(),
    cpu: { model: cpus()[0]?.model.trim() ?? "unknown", cores: availableParallelism(), instructions: instructions() },
    memory: { total: totalmem(), free: freemem(), limit: memoryLimit() },
    gpus: await listGpus(),
    gpuDriver: cudaDriver(),
  };
}

function runtimeName(): string {
  const { bun, deno, node } = process.versions;
  return bun ? `Bun ${bun}` : deno ? `Deno ${deno}` : `Node ${node}`;
}

function libcName(): string | undefined {
  if (process.platform !== "linux") return undefined;
  if (existsSync("/etc/alpine-release")) return "musl";
  const { header } = Object(process.report?.getReport()) as { header?: { glibcVersionRuntime?: string } };
  return header?.glibcVersionRuntime && `glibc ${header.glibcVersionRuntime}`;
}

function instructions(): readonly string[] {
  const line = /^(?:flags|Features)\s*:(.*)$/m.exec(readText("/proc/cpuinfo") ?? "")?.[1] ?? "";
  const present = new Set(line.trim().split(/\s+/));
  return FLAGS.filter((flag) => present.has(flag));
}

/** The limit of the container's control group: version 2, then version 1, which writes a huge number for none. */
function memoryLimit(): number | undefined {
  for (const file of ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]) {
    const limit = Number.parseInt(readText(file) ?? "", 10);
    if (limit > 0 && limit < totalmem()) return limit;
  }
  return undefined;
}

/** Ask the driver's own tool, which is installed beside every driver. */
async function listGpus(): Promise<readonly string[]> {
  const query = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"];
  return new Promise((resolve) => {
    execFile("nvidia-smi", query, { timeout: 10_000 }, (error, stdout) => {
      resolve(error ? [] : stdout.trim().split("\n"));
    });
  });
}

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}
