import { parseArgs } from "node:util";
import { suggest } from "../validate.js";
import type { Command, OptionSpec, OptionTable, Values } from "./command.js";
import { UsageError } from "./failure.js";

/** Options that every command takes. */
export const COMMON_OPTIONS = {
  json: { type: "flag", help: "Print the result as JSON on standard output" },
  debug: { type: "flag", help: "Show the stack of an error" },
  help: { type: "flag", short: "h", help: "Show this help" },
} as const satisfies OptionTable;

/** A command line, read. */
export interface ParsedLine {
  readonly values: Values<OptionTable>;
  readonly operands: readonly string[];
  readonly given: ReadonlySet<string>;
}

/**
 * Read what follows a command's name by the command's own table.
 * @param command whose options and operands are known
 * @param args what follows the name
 * @returns values by name, defaults included
 * @throws UsageError for an unknown option (the nearest known one is named), a value of a wrong kind, and too many operands
 */
export function parseCommandLine(command: Command, args: readonly string[]): ParsedLine {
  const table: OptionTable = { ...command.options, ...COMMON_OPTIONS };
  const { tokens } = parseArgs({
    args: [...args],
    strict: false,
    tokens: true,
    options: Object.fromEntries(
      Object.entries(table).map(([name, { type, short }]) => [
        name,
        { type: type === "flag" ? "boolean" : "string", ...(short ? { short } : {}) },
      ]),
    ),
  });
  const values: Record<string, string | number | boolean | undefined> = defaultsOf(table);
  const given = new Set<string>();
  const operands: string[] = [];
  for (const token of tokens) {
    if (token.kind === "positional") operands.push(token.value);
    if (token.kind !== "option") continue;
    const spec = Object.hasOwn(table, token.name) ? table[token.name] : undefined;
    if (!spec) throw unknownOption(command, token.rawName, Object.keys(table));
    values[token.name] = readValue(spec, token.rawName, token.value);
    given.add(token.name);
  }
  if (operands.length > command.operands.length) {
    const expected = command.operands.length === 0 ? "no operand" : command.operands.join(" ");
    throw new UsageError(`Expected ${expected} for ${command.name} but received ${operands.join(" ")}`, command.name);
  }
  return { values: values as Values<OptionTable>, operands, given };
}

function defaultsOf(table: OptionTable): Record<string, string | number | boolean | undefined> {
  return Object.fromEntries(
    Object.entries(table).map(([name, spec]) => [name, spec.type === "flag" ? false : spec.default]),
  );
}

function unknownOption(command: Command, rawName: string, known: readonly string[]): UsageError {
  const names = known.map((name) => `--${name}`);
  return new UsageError(`Unknown option ${rawName} for ${command.name}${suggest(rawName, names)}`, command.name);
}

/** Read one value as its spec says. */
function readValue(spec: OptionSpec, rawName: string, value: string | undefined): string | number | boolean {
  if (spec.type === "flag") {
    if (value !== undefined) throw new UsageError(`Expected no value for ${rawName} but received "${value}"`);
    return true;
  }
  if (value === undefined || value === "") throw new UsageError(`Expected a ${spec.value} for ${rawName}`);
  if (spec.type === "text") return checkChoice(spec.choices, rawName, value);
  const number = Number(value);
  const { least, most = Infinity } = spec;
  const fits = spec.type === "integer" ? /^\d+$/.test(value) && Number.isSafeInteger(number) : Number.isFinite(number);
  if (!fits || value.trim() === "" || number < least || number > most) {
    const kind = spec.type === "integer" ? "a whole number" : "a number";
    const range = most === Infinity ? `of at least ${least}` : `from ${least} to ${most}`;
    throw new UsageError(`Expected ${kind} ${range} for ${rawName} but received "${value}"`);
  }
  return number;
}

function checkChoice(choices: readonly string[] | undefined, rawName: string, value: string): string {
  if (!choices || choices.includes(value)) return value;
  throw new UsageError(
    `Expected one of ${choices.join(", ")} for ${rawName} but received "${value}"${suggest(value, choices)}`,
  );
}
