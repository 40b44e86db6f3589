/**
 * Write a result as a Markdown table, ratios first.
 * @param {object} result as bench/run.mjs makes it
 */
export function formatTable({ rows, machine, versions, dtype, threads, date, quick }) {
  const header = ["measurement", "who", "ratio to diffusers", "value", "samples"];
  const body = rows.map(({ measurement, name, ratio, value, unit, samples }) => [
    measurement, name, name === "diffusers" ? "1" : ratio.toFixed(3), `${value.toFixed(value < 10 ? 1 : 0)} ${unit}`, String(samples),
  ]);
  const widths = header.map((_, column) => Math.max(...[header, ...body].map((cells) => cells[column].length)));
  const line = (cells) => `| ${cells.map((cell, column) => cell.padEnd(widths[column])).join(" | ")} |`;
  const table = [line(header), `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`, ...body.map(line)].join("\n");
  const where = `${machine.cpu}, ${machine.cores} cores, ${machine.platform}; ${dtype}, ${threads} threads; LibTorch ${versions.libtorch} `
    + `(${versions.cpuCapability}), Node ${versions.node.slice(1)}, diffusers ${versions.diffusers}, torch ${versions.torch}, Python ${versions.python}; ${date.slice(0, 10)}.`;
  return `${quick ? "**A tiny network, to try the benchmark: the figures mean nothing.**\n\n" : ""}${table}\n\n${where}`;
}
