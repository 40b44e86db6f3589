import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { COMMANDS } from "../../lib/cli/commands.js";
import { cliPage, commandHelp, overview } from "../../lib/cli/help.js";
import { parseCommandLine } from "../../lib/cli/parse.js";
import { PACKAGE_ROOT } from "../../lib/native/libtorch.js";

t.test("docs/cli.md is what the table says", (t) => {
  const page = readFileSync(join(PACKAGE_ROOT, "docs", "cli.md"), "utf8");
  t.equal(page, cliPage(COMMANDS), "write it anew: node dist/cli/main.js help --markdown > docs/cli.md");
  t.end();
});

t.test("the bare command names every command", (t) => {
  const text = overview(COMMANDS, "1.2.3");
  for (const { name, summary } of COMMANDS) t.match(text, new RegExp(`^  ${name} +${summary}$`, "m"));
  t.match(text, /1\.2\.3/);
  t.end();
});

t.test("help names every option, and its examples can be parsed", (t) => {
  for (const command of COMMANDS) {
    const text = commandHelp(command);
    for (const name of Object.keys(command.options)) t.match(text, ` --${name} `, `${command.name} --${name}`);
    for (const [commandLine] of command.examples) {
      const [name, ...args] = commandLine.replace(/ [|>].*/, "").split(" ");
      t.equal(name, command.name);
      t.doesNotThrow(() => parseCommandLine(command, args), commandLine);
    }
  }
  t.end();
});
