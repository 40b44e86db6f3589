import { readFileSync } from "node:fs";
import { totalmem } from "node:os";
import { dirname, join } from "node:path";

/**
 * The bytes that this process may still take: of the machine, of each control group that it is in, and of its own address space.
 * @param root of the file system; tests have one of their own
 */
export function availableMemory(root = "/"): number {
  const machine = /^MemAvailable:\s+(\d+) kB/m.exec(read(root, "proc/meminfo"))?.[1];
  return Math.min(
    machine === undefined ? totalmem() : Number(machine) * 1024,
    ...groupsLeft(root),
    addressSpaceLeft(root),
  );
}

/** Where a version of control groups keeps its figures. */
interface GroupFiles {
  readonly mount: string;
  readonly limit: string;
  readonly used: string;
  /** The lines of `memory.stat` with cached files, which the kernel drops before it refuses memory. */
  readonly cached: readonly string[];
}

const VERSION_1: GroupFiles = {
  mount: "sys/fs/cgroup/memory",
  limit: "memory.limit_in_bytes",
  used: "memory.usage_in_bytes",
  cached: ["total_inactive_file", "total_active_file"],
};

const VERSION_2: GroupFiles = {
  mount: "sys/fs/cgroup",
  limit: "memory.max",
  used: "memory.current",
  cached: ["inactive_file", "active_file"],
};

/** What is left in this process's control groups, of each version, from its own up to the root. */
function groupsLeft(root: string): number[] {
  const groups = read(root, "proc/self/cgroup");
  const first = /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(\/.*)$/m.exec(groups)?.[1];
  const second = /^0::(\/.*)$/m.exec(groups)?.[1];
  return [...leftUpwards(root, VERSION_1, first), ...leftUpwards(root, VERSION_2, second)];
}

function leftUpwards(root: string, files: GroupFiles, own: string | undefined): number[] {
  const left: number[] = [];
  // In a container the path may be the host's, of which only the root, the container's own group, is seen.
  for (let group = own; group !== undefined; group = group === "/" ? undefined : dirname(group)) {
    const folder = join(files.mount, group);
    const limit = Number(read(root, join(folder, files.limit)).trim() || "max");
    // Version 1 has a number near 2^63 for "no limit".
    if (!Number.isFinite(limit) || limit > Number.MAX_SAFE_INTEGER) continue;
    const statistics = read(root, join(folder, "memory.stat"));
    const cached = files.cached.reduce((sum, name) => sum + numberAfter(statistics, name), 0);
    left.push(Math.max(0, limit - Number(read(root, join(folder, files.used))) + cached));
  }
  return left;
}

function numberAfter(statistics: string, name: string): number {
  return Number(new RegExp(`^${name} (\\d+)`, "m").exec(statistics)?.[1] ?? 0);
}

/** What `ulimit -v` leaves. */
function addressSpaceLeft(root: string): number {
  const limit = /^Max address space\s+(\d+)/m.exec(read(root, "proc/self/limits"))?.[1];
  const used = /^VmSize:\s+(\d+) kB/m.exec(read(root, "proc/self/status"))?.[1];
  return limit === undefined || used === undefined ? Infinity : Math.max(0, Number(limit) - Number(used) * 1024);
}

/** A small file of the kernel's; empty where it is not there, as on another system. */
function read(root: string, path: string): string {
  try {
    return readFileSync(join(root, path), "latin1");
  } catch {
    return "";
  }
}
