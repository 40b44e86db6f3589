import { spawnSync, type SpawnSyncReturns } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { PACKAGE_ROOT } from "./packages.js";
import { userCacheFolder } from "./user-cache.js";

/** What was found of a CUDA build on this machine. */
export interface CudaVerdict {
  readonly usable: boolean;
  /** Why not, or what it computed on. */
  readonly reason: string;
}

/** A CUDA build and the driver that it is to run with: a verdict holds for these three. */
export interface CudaCandidate {
  /** The folder that holds `lib/`. */
  readonly path: string;
  readonly version: string;
  readonly driver: string;
}

/** What a working LibTorch answers to cuda-probe.js: the product and the convolution of 1, 2, 3, 4 with themselves, added up. */
export const EXPECTED_ANSWER: readonly number[] = [37, 40, 45, 52];

/** What cuda-probe.js writes, as JSON, on the last line of its standard output. */
export interface ProbeAnswer {
  readonly devices: number;
  /** Undefined where there is no device to compute on. */
  readonly answer?: readonly number[];
  /** The message of what was thrown. */
  readonly error?: string;
}

/** How a candidate is tried. Tests give another program. */
export interface TrialOptions {
  /** Where verdicts are kept; default: the user's cache. */
  readonly cache?: string;
  /** The program and its arguments; default: cuda-probe.js in this Node. */
  readonly program?: readonly string[];
  /** Milliseconds until the child is ended. */
  readonly timeout?: number;
}

/** From a cold disk, opening takes tens of seconds; the driver may compile kernels as well. */
const TIMEOUT = 120_000;
const OUTPUT_BYTES = 1 << 20;

/**
 * Say whether a CUDA build works here. It is tried in a child process the first time, since a library that does not fit its driver can end
 * or stop the process that opens it; the verdict is kept, so that later starts read one small file.
 * @returns the verdict; nothing is thrown
 */
export function cudaVerdict(candidate: CudaCandidate, options: TrialOptions = {}): CudaVerdict {
  const file = verdictFile(candidate, options.cache);
  const kept = readVerdict(file, candidate);
  if (kept !== undefined) return kept;
  const verdict = tryCandidate(candidate, options);
  keepVerdict(file, { ...candidate, ...verdict });
  return verdict;
}

/** Forget what was found of a CUDA build, so that it is tried again. */
export function forgetVerdict(candidate: CudaCandidate, cache?: string): void {
  rmSync(verdictFile(candidate, cache), { force: true });
}

function verdictFile({ path, version, driver }: CudaCandidate, cache = userCacheFolder()): string {
  const key = createHash("sha256").update([path, version, driver].join("\0")).digest("hex").slice(0, 16);
  return join(cache, "verdicts", `${key}.json`);
}

/** What is damaged, or was written for another candidate, is no verdict. */
function readVerdict(file: string, { path, version, driver }: CudaCandidate): CudaVerdict | undefined {
  try {
    const kept = JSON.parse(readFileSync(file, "utf8")) as Partial<CudaCandidate & CudaVerdict>;
    const fits = kept.path === path && kept.version === version && kept.driver === driver;
    if (!fits || typeof kept.usable !== "boolean" || typeof kept.reason !== "string") return undefined;
    return { usable: kept.usable, reason: kept.reason };
  } catch {
    return undefined;
  }
}

/** Where nothing can be written, each process tries for itself. */
function keepVerdict(file: string, kept: CudaCandidate & CudaVerdict): void {
  const temporary = `${file}.${process.pid}.tmp`;
  try {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(temporary, `${JSON.stringify(kept, undefined, 2)}\n`);
    renameSync(temporary, file);
  } catch {
    // Nothing was put in place; a temporary file that was left is never read.
  }
}

function tryCandidate({ path }: CudaCandidate, { program, timeout = TIMEOUT }: TrialOptions): CudaVerdict {
  // A bundle holds no such file, and its process would run the bundle instead.
  const script = join(PACKAGE_ROOT, "dist", "native", "cuda-probe.js");
  if (program === undefined && !existsSync(script))
    return { usable: false, reason: `it cannot be tried: ${script} is missing` };
  const [command = "", ...args] = program ?? [process.execPath, script];
  const child = spawnSync(command, args, {
    encoding: "utf8",
    timeout,
    killSignal: "SIGKILL",
    maxBuffer: OUTPUT_BYTES,
    windowsHide: true,
    stdio: ["ignore", "pipe", "pipe"],
    // Electron's program is a Node with this variable.
    env: { ...process.env, LATENT_DIFFUSION_LIBTORCH: path, ELECTRON_RUN_AS_NODE: "1" },
  });
  return judge(child, timeout);
}

function judge(child: SpawnSyncReturns<string>, timeout: number): CudaVerdict {
  const refuse = (reason: string): CudaVerdict => ({ usable: false, reason });
  const { code } = Object(child.error) as { code?: unknown };
  if (code === "ETIMEDOUT") return refuse(`the process that tried it did not answer within ${timeout / 1000} s`);
  if (child.error) return refuse(`the process that tries it could not be started: ${child.error.message}`);
  const said = parseAnswer(child.stdout);
  if (said === undefined) {
    const how = child.signal === null ? `ended with ${child.status}` : `was ended by ${child.signal}`;
    return refuse(`the process that tried it ${how} ${lastLine(child.stderr)}`.trim());
  }
  if (said.error !== undefined) return refuse(said.error);
  if (said.answer === undefined) return refuse("it opens, but finds no CUDA device (the driver may be too old for it)");
  if (said.answer.join() !== EXPECTED_ANSWER.join())
    return refuse(`it computes ${said.answer.join(", ")} instead of ${EXPECTED_ANSWER.join(", ")}`);
  return { usable: true, reason: `it computed on one of ${said.devices} CUDA devices` };
}

/** The last line of the output; libraries may have written before it. */
function parseAnswer(output: string): ProbeAnswer | undefined {
  try {
    return JSON.parse(output.trimEnd().split("\n").at(-1) ?? "") as ProbeAnswer;
  } catch {
    return undefined;
  }
}

function lastLine(text: string): string {
  const line = text.trimEnd().split("\n").at(-1) ?? "";
  return line === "" ? "" : `(${line.slice(0, 300)})`;
}
