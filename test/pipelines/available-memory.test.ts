import { totalmem } from "node:os";
import t from "tap";
import { availableMemory } from "../../lib/pipelines/shared/available-memory.js";

const MIB = 2 ** 20;
const MEMINFO = `MemTotal:        8192 kB\nMemAvailable:    ${100 * 1024} kB\n`;

t.test("what is left here is some of the machine's memory", (t) => {
  const left = availableMemory();
  t.ok(left > MIB && left <= totalmem(), `${left} bytes`);
  t.end();
});

t.test("without groups and limits, what the machine has", (t) => {
  t.equal(availableMemory(t.testdir({ proc: { meminfo: MEMINFO } })), 100 * MIB);
  t.equal(availableMemory(t.testdir({})), totalmem(), "or, on another system, all of it");
  t.end();
});

t.test("a control group of version 2, or one above it, may have less; cached files count as free", (t) => {
  const group = (limit: string, used: number): Record<string, string> => ({
    "memory.max": `${limit}\n`,
    "memory.current": `${used * MIB}\n`,
    "memory.stat": `anon 1\nfile 9\ninactive_file ${2 * MIB}\nactive_file ${MIB}\n`,
  });
  const root = t.testdir({
    proc: { meminfo: MEMINFO, self: { cgroup: "0::/pod/own\n" } },
    sys: {
      fs: { cgroup: { ...group("max", 90), pod: { ...group(String(50 * MIB), 20), own: group(String(40 * MIB), 9) } } },
    },
  });
  t.equal(availableMemory(root), 33 * MIB, "the group above: 50 - 20 + 3");
  t.end();
});

t.test("a control group of version 1, also where the path is the host's", (t) => {
  const group = (limit: string): Record<string, string> => ({
    "memory.limit_in_bytes": `${limit}\n`,
    "memory.usage_in_bytes": `${30 * MIB}\n`,
    "memory.stat": `cache 1\ntotal_inactive_file ${MIB}\ntotal_active_file 0\n`,
  });
  const cgroup = "12:cpu,cpuacct:/x\n4:memory:/docker/abc\n";
  const limited = t.testdir({
    proc: { meminfo: MEMINFO, self: { cgroup } },
    sys: { fs: { cgroup: { memory: group(String(64 * MIB)) } } },
  });
  t.equal(availableMemory(limited), 35 * MIB);
  const unlimited = t.testdir({
    proc: { meminfo: MEMINFO, self: { cgroup } },
    sys: { fs: { cgroup: { memory: group("9223372036854771712") } } },
  });
  t.equal(availableMemory(unlimited), 100 * MIB);
  t.end();
});

t.test("a limit of the address space", (t) => {
  const self = (limit: string): Record<string, string> => ({
    limits: `Limit   Soft Limit  Hard Limit  Units\nMax address space         ${limit}   unlimited   bytes\n`,
    status: `VmPeak:\t 1 kB\nVmSize:\t  ${30 * 1024} kB\n`,
  });
  t.equal(availableMemory(t.testdir({ proc: { meminfo: MEMINFO, self: self(String(50 * MIB)) } })), 20 * MIB);
  t.equal(availableMemory(t.testdir({ proc: { meminfo: MEMINFO, self: self("unlimited") } })), 100 * MIB);
  t.end();
});
