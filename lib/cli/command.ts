import type { Terminal } from "./terminal.js";

/** One option of a command: what it is parsed as, what help and docs/cli.md say of it. */
export type OptionSpec =
  | { readonly type: "flag"; readonly help: string; readonly short?: string }
  | {
      readonly type: "text";
      readonly help: string;
      /** What stands for the value in help: `"file"`. */
      readonly value: string;
      readonly short?: string;
      readonly default?: string;
      /** The only values that are taken. */
      readonly choices?: readonly string[];
    }
  | {
      readonly type: "integer" | "number";
      readonly help: string;
      readonly value: string;
      readonly short?: string;
      readonly default?: number;
      readonly least: number;
      readonly most?: number;
    };

export type OptionTable = Readonly<Record<string, OptionSpec>>;

type Parsed<Spec extends OptionSpec> = Spec["type"] extends "flag"
  ? boolean
  : Spec["type"] extends "text"
    ? string
    : number;

/** What parsing makes of a table of options: flags are false, and options without a default undefined, where they are not given. */
export type Values<Table extends OptionTable> = {
  readonly [Name in keyof Table]: Table[Name]["type"] extends "flag"
    ? boolean
    : Table[Name] extends { readonly default: string | number }
      ? Parsed<Table[Name]>
      : Parsed<Table[Name]> | undefined;
};

/** What a command is given beside its options. */
export interface Invocation {
  /** What came after the command's name and is no option, at most as many as the command takes. */
  readonly operands: readonly string[];
  readonly terminal: Terminal;
  /** Aborted by the first Ctrl+C. */
  readonly signal: AbortSignal;
  /** Which options were given, by name; the others have their defaults. */
  readonly given: ReadonlySet<string>;
}

/** A command of the table in commands.ts. */
export interface Command {
  readonly name: string;
  /** One line, for the list of commands. */
  readonly summary: string;
  /** What help says below the usage line. */
  readonly description: string;
  /** What may come after the name, as the usage line shows it: `"<id>"`. */
  readonly operands: readonly string[];
  readonly options: OptionTable;
  /** Command lines without the program's name, and what each does. */
  readonly examples: readonly (readonly [commandLine: string, does: string])[];
  /** @returns the exit code */
  readonly run: (values: Values<OptionTable>, invocation: Invocation) => Promise<number>;
}

/**
 * Describe a command; `run` is given its options under the types that their specs say.
 * @param command all that the table holds of it
 */
export function defineCommand<const Table extends OptionTable>(
  command: Omit<Command, "options" | "run"> & {
    readonly options: Table;
    readonly run: (values: Values<Table>, invocation: Invocation) => Promise<number>;
  },
): Command {
  const { run } = command;
  // Parsing makes values of the same table, so they have its types.
  return { ...command, run: (values, invocation) => run(values as Values<Table>, invocation) };
}
