import type { Command, OptionSpec, OptionTable } from "./command.js";
import { COMMON_OPTIONS } from "./parse.js";

/** The name of the program. */
export const PROGRAM = "latent-diffusion";

/** What the bare command prints: where to begin. */
export function overview(commands: readonly Command[], version: string): string {
  return [
    `${PROGRAM} ${version}: pictures from latent diffusion models, in Node.js`,
    "",
    "Begin with one of these:",
    "",
    ...columns([
      [`  npx ${PROGRAM} generate`, "a picture of the demo model, if it is installed"],
      [`  npx ${PROGRAM} generate --model <folder>`, "a picture of a checkpoint of yours"],
      [`  npx ${PROGRAM} doctor`, "what is installed, what works, what is missing"],
    ]),
    "",
    "Commands:",
    "",
    ...columns(commands.map(({ name, summary }) => [`  ${name}`, summary])),
    "",
    `\`${PROGRAM} <command> --help\` shows the options of a command and examples.`,
  ].join("\n");
}

/** The help of one command, from the same table that its options are parsed by. */
export function commandHelp(command: Command): string {
  return [
    `Usage: ${usageLine(command)}`,
    "",
    command.description,
    "",
    "Options:",
    "",
    ...columns(
      Object.entries(optionsOf(command)).map(([name, spec]) => [`  ${spelling(name, spec)}`, explanation(spec)]),
    ),
    "",
    "Examples:",
    "",
    ...command.examples.flatMap(([commandLine, does]) => [`  # ${does}`, `  ${PROGRAM} ${commandLine}`]),
  ].join("\n");
}

/** The page docs/cli.md, whole. */
export function cliPage(commands: readonly Command[]): string {
  return [
    "# The command line",
    "",
    "<!-- Written by `latent-diffusion help --markdown`; a test compares. Change lib/cli/commands.ts instead. -->",
    "",
    "Results go to standard output (with `--json`, as JSON), progress and messages to standard error. `NO_COLOR` switches colours off.",
    "",
    "| exit code | meaning |",
    "|---|---|",
    "| 0 | done |",
    "| 1 | failed; the message, the code of the error and what to do are on standard error |",
    "| 2 | the command line cannot be understood |",
    "| 130 | interrupted; what was finished is kept |",
    "",
    ...commands.flatMap(commandSection),
  ].join("\n");
}

function commandSection(command: Command): string[] {
  const rows = Object.entries(optionsOf(command)).map(
    ([name, spec]) =>
      `| \`${spelling(name, spec).replaceAll("|", "\\|")}\` | ${explanation(spec).replaceAll("|", "\\|")} |`,
  );
  return [
    `## ${command.name}`,
    "",
    `${command.summary}. ${command.description}`,
    "",
    "```sh",
    usageLine(command),
    "",
    ...command.examples.flatMap(([commandLine, does]) => [`# ${does}`, `${PROGRAM} ${commandLine}`]),
    "```",
    "",
    "| option | meaning |",
    "|---|---|",
    ...rows,
    "",
  ];
}

function usageLine({ name, operands }: Command): string {
  return [PROGRAM, name, ...operands, "[options]"].join(" ");
}

function optionsOf({ options }: Command): OptionTable {
  return { ...options, ...COMMON_OPTIONS };
}

function spelling(name: string, spec: OptionSpec): string {
  const short = spec.short === undefined ? "" : `-${spec.short}, `;
  return `${short}--${name}${spec.type === "flag" ? "" : ` <${spec.value}>`}`;
}

function explanation(spec: OptionSpec): string {
  if (spec.type === "flag") return spec.help;
  const choices = spec.type === "text" && spec.choices ? `: ${spec.choices.join(", ")}` : "";
  return `${spec.help}${choices}${spec.default === undefined ? "" : ` (default: ${spec.default})`}`;
}

/** Lay pairs out so that the second parts stand below each other. */
function columns(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([left]) => left.length)) + 2;
  return rows.map(([left, right]) => left.padEnd(width) + right);
}
