import t from "tap";
import { COMMANDS, GENERATE_TABLE } from "../../lib/cli/commands.js";
import type { Command } from "../../lib/cli/command.js";
import { UsageError } from "../../lib/cli/failure.js";
import { parseCommandLine } from "../../lib/cli/parse.js";

const [GENERATE] = COMMANDS as readonly [Command];
const parse = (...args: string[]) => parseCommandLine(GENERATE, args);

t.test("options that are not given have the table's defaults", (t) => {
  const { values, given } = parse();
  for (const [name, spec] of Object.entries(GENERATE_TABLE))
    t.equal(values[name], spec.type === "flag" ? false : "default" in spec ? spec.default : undefined, name);
  t.equal(given.size, 0);
  t.end();
});

t.test("every spelling of an option is read as its kind", (t) => {
  const { values, given } = parse("--count=3", "-s", "7", "--eta", "0.5", "--grid", "-o", "-", "--dtype", "bfloat16");
  t.match(values, { count: 3, seed: 7, eta: 0.5, grid: true, out: "-", dtype: "bfloat16" });
  t.strictSame([...given].sort(), ["count", "dtype", "eta", "grid", "out", "seed"]);
  t.end();
});

t.test("what cannot be understood is refused by name", (t) => {
  const cases: [string[], RegExp][] = [
    [["--cuont", "3"], /Unknown option --cuont for generate; did you mean "--count"\?/],
    [["-q"], /Unknown option -q for generate/],
    [["--constructor"], /Unknown option --constructor/],
    [["--count"], /Expected a number for --count/],
    [["--count", "0"], /Expected a whole number of at least 1 for --count but received "0"/],
    [["--count", "1e3"], /Expected a whole number .* received "1e3"/],
    [["--seed", "-1"], /Expected a whole number of at least 0 for --seed but received "-1"/],
    [["--seed", "99999999999999999999"], /Expected a whole number/],
    [["--eta", "2"], /Expected a number from 0 to 1 for --eta but received "2"/],
    [["--eta", "x"], /Expected a number from 0 to 1/],
    [["--dtype", "float61"], /Expected one of float32, .* did you mean "float64"|did you mean "float16"/],
    [["--grid=yes"], /Expected no value for --grid but received "yes"/],
    [["faces.png"], /Expected no operand for generate but received faces.png/],
  ];
  for (const [args, message] of cases) {
    const error = t.throws(() => parse(...args), message, args.join(" "));
    t.ok(error instanceof UsageError);
  }
  t.end();
});
