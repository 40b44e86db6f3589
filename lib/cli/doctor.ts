import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { runtimeInfo, type RuntimeInfo } from "../index.js";
import { explainUnfitCpu } from "../native/host.js";
import { type LibTorchCandidate, libTorchCandidates } from "../native/libtorch.js";
import { findBinaryPackage, PACKAGE_ROOT } from "../native/packages.js";
import type { Invocation, Values } from "./command.js";
import type { DOCTOR_TABLE } from "./commands.js";
import { EXIT } from "./failure.js";
import { demoFolder } from "./model-source.js";
import { runSelfTest, type SelfTest } from "./self-test.js";
import { inspectSystem, type SystemReport } from "./system.js";
import { formatBytes, formatSeconds, type Terminal } from "./terminal.js";
import { packageVersion } from "./version.js";

/** Why something does not work, in place of what it would have said. */
interface Fault {
  readonly code: string;
  readonly error: string;
}

/** What only a process that opens LibTorch can tell. */
interface Probe {
  readonly libTorch: RuntimeInfo | Fault;
  readonly selfTest: SelfTest | Fault;
}

/** All that `doctor` finds; a bug report should hold it. */
interface DoctorReport extends Probe {
  readonly version: string;
  readonly system: SystemReport;
  /** The folder of the native addon, if there is one. */
  readonly addon: string | undefined;
  /** Every place where LibTorch was looked for, in order. */
  readonly candidates: readonly LibTorchCandidate[] | Fault;
  readonly sharp: string | Fault;
  /** The folder of the demo checkpoint, if it is installed. */
  readonly demo: string | undefined;
}

/** The self-test takes about a second; loading LibTorch from a cold disk takes longer. */
const PROBE_TIME = 120_000;

/**
 * Say what is installed and whether it works. What is missing or broken is reported, never thrown.
 * @returns 0 if networks run here and compute what they should, else 1
 */
export async function doctor(
  { json, here }: Values<typeof DOCTOR_TABLE> & { readonly json?: boolean },
  { terminal, signal }: Invocation,
): Promise<number> {
  const probe = here ? await probeHere() : await probeInChild(signal);
  const report: DoctorReport = {
    version: packageVersion(),
    system: await inspectSystem(),
    addon: addonFolder(),
    candidates: await attempt(() => libTorchCandidates()),
    ...probe,
    sharp: sharpVersion(),
    demo: demoFolder(),
  };
  await terminal.result(json ? JSON.stringify(report, undefined, 2) : formatReport(report, terminal));
  return "passed" in report.selfTest && report.selfTest.passed ? EXIT.done : EXIT.failed;
}

async function probeHere(): Promise<Probe> {
  const libTorch = await attempt(runtimeInfo);
  const selfTest =
    "error" in libTorch ? { code: libTorch.code, error: "not run, since LibTorch failed" } : await attempt(runSelfTest);
  return { libTorch, selfTest };
}

async function attempt<T>(work: () => T | Promise<T>): Promise<T | Fault> {
  try {
    return await work();
  } catch (error) {
    const { code } = Object(error) as { code?: unknown };
    const message = error instanceof Error ? error.message : String(error);
    return { code: typeof code === "string" ? code : "ERR_INTERNAL", error: message };
  }
}

/** A library that does not fit the CPU or the system can end the process that opens it: another process tries. */
async function probeInChild(signal: AbortSignal): Promise<Probe> {
  const args = [join(__dirname, "main.js"), "doctor", "--here", "--json"];
  return new Promise((resolve) => {
    execFile(process.execPath, args, { signal, timeout: PROBE_TIME }, (error, stdout, stderr) => {
      resolve(parseProbe(stdout) ?? deadChild(error?.signal, stderr));
    });
  });
}

function parseProbe(text: string): Probe | undefined {
  try {
    const { libTorch, selfTest } = JSON.parse(text) as DoctorReport;
    return { libTorch, selfTest };
  } catch {
    return undefined;
  }
}

function deadChild(endedBy: string | null | undefined, stderr: string): Probe {
  const how = endedBy ? `was ended by ${endedBy}` : "ended early";
  const hint =
    endedBy === "SIGILL" ? `: ${explainUnfitCpu() ?? "this CPU lacks an instruction that a library uses"}` : "";
  const fault = {
    code: "ERR_INTERNAL",
    error: `The process that tried it ${how}${hint}. ${stderr.slice(-500)}`.trim(),
  };
  return { libTorch: fault, selfTest: fault };
}

/** What was built here wins over a package, as when the addon is loaded. */
function addonFolder(): string | undefined {
  const built = join(PACKAGE_ROOT, "build", "Release");
  return existsSync(built) ? built : findBinaryPackage("addon");
}

function sharpVersion(): string | Fault {
  const unfit = explainUnfitCpu();
  if (unfit !== undefined) return { code: "ERR_ADDON_NOT_FOUND", error: unfit };
  try {
    const sharp = createRequire(__filename)("sharp") as { versions: { sharp?: string } };
    return sharp.versions.sharp ?? "unknown version";
  } catch (error) {
    return { code: "ERR_ADDON_NOT_FOUND", error: error instanceof Error ? error.message : String(error) };
  }
}

function formatReport(report: DoctorReport, terminal: Terminal): string {
  const { system, libTorch, selfTest } = report;
  const { cpu, memory } = system;
  const good = (text: string): string => `${terminal.style("green", "ok", "stdout")}  ${text}`;
  const bad = ({ code, error }: Fault): string => `${terminal.style("red", "failed", "stdout")}  ${error} (${code})`;
  const limit = memory.limit === undefined ? "" : `, limited to ${formatBytes(memory.limit)}`;
  const rows: [string, string][] = [
    ["latent-diffusion", report.version],
    ["runs in", `${system.runtime}, ${system.platform}${system.libc === undefined ? "" : `, ${system.libc}`}`],
    [
      "CPU",
      `${cpu.model}, ${cpu.cores} threads${cpu.instructions.length > 0 ? `: ${cpu.instructions.join(" ")}` : ""}`,
    ],
    ["memory", `${formatBytes(memory.total)}, ${formatBytes(memory.free)} free${limit}`],
    ["GPUs", system.gpus.length > 0 ? system.gpus.join("; ") : `none${driverNote(system.gpuDriver)}`],
    ["addon", report.addon ?? "not installed"],
    ["LibTorch, looked for", "error" in report.candidates ? bad(report.candidates) : listCandidates(report.candidates)],
    ["LibTorch", "error" in libTorch ? bad(libTorch) : good(describeLibTorch(libTorch))],
    ["sharp", typeof report.sharp === "string" ? good(report.sharp) : bad(report.sharp)],
    ["demo checkpoint", report.demo ?? "not installed (npm install @latent-diffusion/demo)"],
    ["self-test", "error" in selfTest ? bad(selfTest) : describeTest(selfTest, good, bad)],
  ];
  const width = Math.max(...rows.map(([name]) => name.length)) + 2;
  return rows.map(([name, text]) => name.padEnd(width) + text.replaceAll("\n", `\n${" ".repeat(width)}`)).join("\n");
}

function listCandidates(candidates: readonly LibTorchCandidate[]): string {
  return candidates
    .map(({ source, path, version, verdict, chosen }) => {
      const where = path === null ? "" : ` ${path}${version === null ? "" : ` (${version})`}:`;
      return `${chosen ? "*" : "-"} ${source}:${where} ${verdict}`;
    })
    .join("\n");
}

function driverNote(driver: string | undefined): string {
  return driver === undefined ? "" : ` listed, NVIDIA driver ${driver}`;
}

function describeLibTorch({ libtorch, cpuCapability, threads, devices }: RuntimeInfo): string {
  const { path, version, source } = libtorch;
  return `${version} in ${path} (${source}); kernels ${cpuCapability}, ${threads} threads, devices ${devices.join(", ")}`;
}

function describeTest(test: SelfTest, good: (text: string) => string, bad: (fault: Fault) => string): string {
  const { passed, largestDifference, tolerance, seconds } = test;
  const text = `a known picture, largest difference ${largestDifference} of 255 (at most ${tolerance} allowed), ${formatSeconds(seconds)}`;
  return passed ? good(text) : bad({ code: "ERR_SELF_TEST", error: text });
}
