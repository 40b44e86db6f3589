import { suggest } from "../validate.js";
import type { Command } from "./command.js";
import { COMMANDS } from "./commands.js";
import { describeFailure, EXIT, UsageError } from "./failure.js";
import { cliPage, commandHelp, overview, PROGRAM } from "./help.js";
import { parseCommandLine } from "./parse.js";
import type { Terminal } from "./terminal.js";
import { packageVersion } from "./version.js";

/**
 * Run a command line.
 * @param args what follows the program's name
 * @param signal ends the command; what is finished is kept
 * @returns the exit code: 0 done, 1 failed, 2 not understood, 130 interrupted
 */
export async function runCommandLine(
  args: readonly string[],
  terminal: Terminal,
  signal: AbortSignal,
): Promise<number> {
  try {
    return await dispatch(args, terminal, signal);
  } catch (error) {
    const { message, code, advice, exitCode } = describeFailure(error);
    if (exitCode === EXIT.interrupted) terminal.note(message);
    else terminal.note(`${terminal.style("red", "Error:")} ${message} ${terminal.style("dim", `(${code})`)}`);
    if (advice !== undefined) terminal.note(advice);
    if (args.includes("--debug") && error instanceof Error) terminal.note(error.stack ?? "");
    return exitCode;
  }
}

async function dispatch(args: readonly string[], terminal: Terminal, signal: AbortSignal): Promise<number> {
  const [first, ...rest] = args;
  if (first === undefined || first === "--help" || first === "-h")
    return print(terminal, overview(COMMANDS, packageVersion()));
  if (first === "--version" || first === "-v") return print(terminal, packageVersion());
  if (first === "help") return help(rest, terminal);
  const command = findCommand(first);
  if (rest.includes("--help") || rest.includes("-h")) return print(terminal, commandHelp(command));
  const { values, operands, given } = parseCommandLine(command, rest);
  return command.run(values, { operands, terminal, signal, given });
}

async function print(terminal: Terminal, text: string): Promise<number> {
  await terminal.result(text);
  return EXIT.done;
}

/** `help`, `help <command>`, and `help --markdown`, which is docs/cli.md. */
async function help([about]: readonly string[], terminal: Terminal): Promise<number> {
  if (about === undefined) return print(terminal, overview(COMMANDS, packageVersion()));
  // The page ends in a newline of its own.
  if (about === "--markdown") return print(terminal, cliPage(COMMANDS).trimEnd());
  return print(terminal, commandHelp(findCommand(about)));
}

function findCommand(name: string): Command {
  const command = COMMANDS.find((candidate) => candidate.name === name);
  if (command) return command;
  const names = COMMANDS.map((candidate) => candidate.name);
  const kind = name.startsWith("-") ? "option" : "command";
  throw new UsageError(`Unknown ${kind} ${name} for ${PROGRAM}${suggest(name, [...names, "help"])}`);
}
