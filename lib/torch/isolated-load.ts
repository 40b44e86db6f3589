import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { AbortError, type ErrorCode, InvalidArgumentError, LatentDiffusionError } from "../errors.js";
import { runtimeInfo } from "../native/open.js";
import { PACKAGE_ROOT } from "../native/packages.js";
import { checkNumber, checkOptions, unexpected } from "../validate.js";
import type { ExecutionOptions } from "./execution.js";

/** A network of some gigabytes loads and compiles in a few seconds; a busy machine may take ten times as long. */
const TIMEOUT_MILLISECONDS = 60_000;
/** Of what the child says, and of what libraries print into it. */
const OUTPUT_CHARACTERS = 100_000;

/** How a TorchScript file is tried in a child process first. */
export interface IsolateOptions {
  /** How long it may take, in milliseconds; default 60,000. */
  timeout?: number;
}

/** What isolated-probe.js writes, as JSON, on the last line of its standard output: nothing went wrong, or what did. */
export interface ProbeAnswer {
  readonly code?: ErrorCode;
  readonly message?: string;
}

/** What isolated-probe.js is to load. */
export interface ProbeTask {
  readonly path: string;
  readonly execution: ExecutionOptions;
}

/** Check the option `isolate`. @returns the time limit in milliseconds; undefined for no trial */
export function checkIsolate(value: unknown): number | undefined {
  if (value === undefined || value === false) return undefined;
  if (value === true) return TIMEOUT_MILLISECONDS;
  if (typeof value !== "object" || value === null) throw unexpected("a boolean or { timeout }", "isolate", value);
  const { timeout } = checkOptions(value as IsolateOptions, ["timeout"], "isolate");
  return timeout === undefined ? TIMEOUT_MILLISECONDS : checkNumber(timeout, "isolate.timeout", 1, 2 ** 31 - 1);
}

/**
 * Load a TorchScript file in a child process, which its code may crash or hold up: whatever happens, happens there.
 * @param signal kills the child
 * @throws AbortError; LatentDiffusionError with what the child said; `ERR_TORCHSCRIPT_INVALID` if it crashed or did not end in time
 */
export async function tryInChild(task: ProbeTask, timeout: number, signal: AbortSignal | undefined): Promise<void> {
  const script = join(PACKAGE_ROOT, "dist", "torch", "isolated-probe.js");
  // A bundle holds no such file, and its process would run the bundle instead.
  if (!existsSync(script))
    throw new InvalidArgumentError(
      `Expected no option isolate where latent-diffusion is bundled: ${script} is missing`,
    );
  const { output, ending, isLate } = await runProbe(script, task, timeout, signal);
  if (signal?.aborted) throw new AbortError(signal.reason);
  const answer = parseAnswer(output);
  if (isLate || answer === undefined) {
    const how = isLate ? `did not end within ${timeout / 1000} s` : `ended with ${ending}`;
    throw new LatentDiffusionError("ERR_TORCHSCRIPT_INVALID", `${task.path}: the child process that loaded it ${how}`);
  }
  if (answer.message !== undefined)
    throw new LatentDiffusionError(answer.code ?? "ERR_TORCHSCRIPT_INVALID", answer.message);
}

interface ProbeResult {
  readonly output: string;
  /** An exit code or a signal. */
  readonly ending: string;
  readonly isLate: boolean;
}

function runProbe(
  script: string,
  task: ProbeTask,
  timeout: number,
  signal: AbortSignal | undefined,
): Promise<ProbeResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, JSON.stringify(task)], {
      windowsHide: true,
      stdio: ["ignore", "pipe", "ignore"],
      // The same LibTorch; Electron's program is a Node with the other variable.
      env: { ...process.env, LATENT_DIFFUSION_LIBTORCH: runtimeInfo().libtorch.path, ELECTRON_RUN_AS_NODE: "1" },
    });
    let output = "";
    let isLate = false;
    const kill = (): void => void child.kill("SIGKILL");
    const timer = setTimeout(() => {
      isLate = true;
      kill();
    }, timeout);
    signal?.addEventListener("abort", kill, { once: true });
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output = `${output}${text}`.slice(-OUTPUT_CHARACTERS);
    });
    child.on("error", (cause) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", kill);
      reject(new LatentDiffusionError("ERR_IO", `The child process cannot be started: ${cause.message}`, { cause }));
    });
    child.on("close", (code, ended) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", kill);
      resolve({ output, ending: ended ?? `the exit code ${code}`, isLate });
    });
  });
}

/** The last line of the output; libraries may have written before it. */
function parseAnswer(output: string): ProbeAnswer | undefined {
  try {
    return JSON.parse(output.trimEnd().split("\n").at(-1) ?? "") as ProbeAnswer;
  } catch {
    return undefined;
  }
}
