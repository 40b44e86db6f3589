import { type ExecFileException, execFile } from "node:child_process";
import { join } from "node:path";

export interface Ending {
  readonly code: number | string | null;
  readonly signal: string | null;
  readonly output: string;
}

/** Run one of the programs in a process of its own; the output holds both streams. */
export function runProgram(program: string, ...args: readonly string[]): Promise<Ending> {
  const file = join(__dirname, "programs", program);
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [file, ...args],
      { timeout: 60_000, env: programEnvironment() },
      (error, stdout, stderr) => {
        const failure: ExecFileException | null = error;
        resolve({
          code: failure?.code ?? (failure?.signal ? null : 0),
          signal: failure?.signal ?? null,
          output: stdout + stderr,
        });
      },
    );
  });
}

/** Without what tap puts into its children. */
function programEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(NODE_OPTIONS|TAP|_TAPJS)/.test(name)));
}
