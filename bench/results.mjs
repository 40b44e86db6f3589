import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inProject } from "../scripts/setup/paths.mjs";
import { drawPlot } from "./plot.mjs";
import { formatResult } from "./table.mjs";

const FOLDER = inProject("bench/results");
const PAGE = inProject("docs/performance.md");
const MARKED = /<!-- bench:[\s\S]*<!-- end of bench -->/;

/**
 * Keep a result: rows that were measured before and not now stay, so that a run of one suite or rival adds to what is there. Then
 * write the page and its plots anew, of all results.
 * @param {object} result as bench/run.mjs makes it
 */
export function keep(result) {
  mkdirSync(FOLDER, { recursive: true });
  const file = join(FOLDER, `${kindOf(result.machine)}-${result.dtype}.json`);
  const before = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : { rows: [], versions: {} };
  const isNew = ({ measurement, name }) =>
    result.rows.some((row) => row.measurement === measurement && row.name === name);
  const rows = [...before.rows.filter((row) => !isNew(row)), ...result.rows];
  // In the order of a full run: who came first where, whatever was repeated since.
  const orders = ["measurement", "name"].map((key) => [
    ...new Set([...before.rows, ...result.rows].map((row) => row[key])),
  ]);
  rows.sort(
    (a, b) =>
      orders[0].indexOf(a.measurement) - orders[0].indexOf(b.measurement) ||
      orders[1].indexOf(a.name) - orders[1].indexOf(b.name),
  );
  writeFileSync(
    file,
    `${JSON.stringify({ ...result, versions: { ...before.versions, ...result.versions }, rows }, null, 2)}\n`,
  );
  writePage();
}

/** Write the tables between the marks of docs/performance.md, and a plot for each kind of CPU, from bench/results. */
export function writePage() {
  const results = readdirSync(FOLDER)
    .filter((name) => name.endsWith(".json"))
    .sort()
    .reverse()
    .map((name) => JSON.parse(readFileSync(join(FOLDER, name), "utf8")));
  const kinds = [...new Set(results.map(({ machine }) => kindOf(machine)))];
  const sections = kinds.map((kind) => {
    const of = results.filter(({ machine }) => kindOf(machine) === kind);
    const { cpu, features } = of[0].machine;
    const plot = `performance-${kind}.svg`;
    writeFileSync(inProject(`docs/${plot}`), drawPlot(of));
    const tables = of.map((result) => `### ${result.dtype}\n\n${formatResult(result)}`);
    return [
      `## ${cpu}, ${features}`,
      `![Time of a step, of a decode, and of a picture of 50 steps](${plot})`,
      ...tables,
    ].join("\n\n");
  });
  const text = `<!-- bench: written by \`npm run bench -- --peers --write\` -->\n${sections.join("\n\n")}\n<!-- end of bench -->`;
  writeFileSync(
    PAGE,
    readFileSync(PAGE, "utf8").replace(MARKED, () => text),
  );
}

/** A kind of CPU as part of a file's name, `"intel-xeon-amx"`. */
function kindOf({ cpu, features }) {
  const words = cpu.replace(/\((R|TM)\)|Processor|CPU|@.*|\d+-Core.*/gi, " ").toLowerCase();
  return `${words} ${features.split(", ").at(-1).toLowerCase()}`.replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
}
