import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { logFolder, projectRoot } from "./paths.mjs";

/** A part that could not be done, with what the reader can do about it. */
export class SetupError extends Error {
  /**
   * @param {string} message what failed
   * @param {string} advice what to do
   */
  constructor(message, advice) {
    super(message);
    this.name = "SetupError";
    this.advice = advice;
  }
}

/**
 * Run a command, keep what it prints in a log, and show none of it unless it fails.
 * @param {readonly string[]} command program and arguments; no shell takes part
 * @param {{ log: string, advice: string, env?: NodeJS.ProcessEnv, cwd?: string, onOutput?: (text: string) => void }} options
 *   `log`: the name of the log file; `advice`: what to do if the command fails
 * @returns {Promise<string>} what it printed
 * @throws {SetupError} with the last lines of the output
 */
export async function runCommand(command, { log, advice, env = process.env, cwd = projectRoot, onOutput }) {
  const { code, output } = await capture(command, { env, cwd, onOutput });
  mkdirSync(logFolder, { recursive: true });
  const file = join(logFolder, `${log}.log`);
  writeFileSync(file, `$ ${command.join(" ")}\n${output}`);
  if (code === 0) return output;
  const tail = output
    .trimEnd()
    .split("\n")
    .slice(-25)
    .map((text) => `    ${text}`)
    .join("\n");
  const where = relative(process.cwd(), file);
  throw new SetupError(`\`${command.slice(0, 4).join(" ")}\` failed (${code}); the end of ${where}:\n${tail}`, advice);
}

/**
 * Run a command and collect what it prints, whatever its exit status.
 * @param {readonly string[]} command
 * @param {{ env?: NodeJS.ProcessEnv, cwd?: string | URL, onOutput?: (text: string) => void }} [options]
 * @returns {Promise<{ code: number | string, output: string, stdout: string }>} `code`: the status, a signal's name, or why it did not start
 */
export function capture([program, ...args], { env = process.env, cwd = projectRoot, onOutput } = {}) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"], windowsHide: true });
    let output = "";
    let stdout = "";
    const collect = (text) => {
      output += text;
      onOutput?.(text);
    };
    child.stdout.setEncoding("utf8").on("data", (text) => {
      stdout += text;
      collect(text);
    });
    child.stderr.setEncoding("utf8").on("data", collect);
    child.on("error", (error) => resolve({ code: error.message, output, stdout }));
    child.on("close", (code, signal) => resolve({ code: code ?? signal, output, stdout }));
  });
}
