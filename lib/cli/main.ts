#!/usr/bin/env node
import { EXIT } from "./failure.js";
import { runCommandLine } from "./run.js";
import { Terminal } from "./terminal.js";

/** The first Ctrl+C asks the command to end, the second ends the process. */
function interruptible(): AbortSignal {
  const interrupted = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.on(name, () => {
      if (interrupted.signal.aborted) process.exit(EXIT.interrupted);
      interrupted.abort(name);
    });
  }
  return interrupted.signal;
}

// A reader such as `head` may close the pipe: there is nobody left to tell.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(EXIT.failed);
  throw error;
});

const { stdout, stderr, env } = process;
void runCommandLine(process.argv.slice(2), new Terminal({ stdout, stderr, env }), interruptible()).then((exitCode) => {
  process.exitCode = exitCode;
});
