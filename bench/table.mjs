import { DIFFUSERS, OURS } from "./participants.mjs";

const SPEED = ["UNet step", "decode", "50 steps + decode"];
const COST = [
  "process start to first tensor",
  "load",
  "first step",
  "load and a picture of 4 steps",
  "warm-up, batch of 2",
  "warm-up, half the size",
  "warm-up, decode of half the size",
  "peak memory",
];

/**
 * Write a result in Markdown, ratios first.
 * @param {object} result as bench/run.mjs makes it
 */
export function formatResult({ rows, quick, ...run }) {
  const warning = quick ? ["**A tiny network, to try the benchmark: the figures mean nothing.**"] : [];
  const parts = [...warning, summary(rows), matrix(rows, SPEED), matrix(rows, COST), list(rows), describe(run, rows)];
  return parts.filter((part) => part !== "").join("\n\n");
}

/** This package's figures, against diffusers as it comes and against the best of the rivals. */
function summary(rows) {
  const body = [...SPEED, "peak memory"].flatMap((measurement) => {
    const of = rows.filter((row) => row.measurement === measurement);
    const ours = of.find(({ name }) => name === OURS);
    if (!ours) return [];
    const best = bestRival(of);
    const against = best?.toOurs === undefined ? "" : `${times(best.toOurs)} (${best.name})`;
    return [[measurement, against, times(1 / ours.ratio), show(ours)]];
  });
  return table(["", "the best rival takes", "diffusers takes", "this package takes"], body);
}

/** The rival that takes least, by its ratio to what all were measured beside. */
export function bestRival(rows) {
  return rows.filter(({ rival }) => rival).sort((a, b) => a.ratio - b.ratio)[0];
}

/** A row a participant, a column a measurement; nothing where there is nothing of it. */
function matrix(rows, measurements) {
  const columns = measurements.filter((name) => rows.some(({ measurement }) => measurement === name));
  const names = [...new Set(rows.filter(({ measurement }) => columns.includes(measurement)).map(({ name }) => name))];
  const body = names.map((name) => [
    name,
    ...columns.map((column) => {
      const row = rows.find((candidate) => candidate.measurement === column && candidate.name === name);
      if (!row) return "";
      return row.ratio === undefined || column.startsWith("warm-up")
        ? show(row)
        : `${row.ratio.toFixed(2)}: ${show(row)}`;
    }),
  ]);
  return table(["who", ...columns], body);
}

/** What is measured of this package alone. */
function list(rows) {
  const shown = [...SPEED, ...COST];
  return rows
    .filter(({ measurement, name }) => name === OURS && !shown.includes(measurement))
    .map((row) => `- ${row.measurement}: ${show(row)}`)
    .join("\n");
}

function table(header, body) {
  if (body.length === 0 || header.length === 1) return "";
  const widths = header.map((_, column) => Math.max(...[header, ...body].map((cells) => cells[column].length)));
  const line = (cells) => `| ${cells.map((cell, column) => cell.padEnd(widths[column])).join(" | ")} |`;
  return [line(header), `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`, ...body.map(line)].join("\n");
}

function describe({ machine, versions, dtype, threads }, rows) {
  const samples = (measurement) =>
    rows.find((row) => row.measurement === measurement && row.name === DIFFUSERS)?.samples;
  const counts = Object.entries({ steps: "UNet step", decodes: "decode", loads: "load" })
    .map(([what, measurement]) => [samples(measurement), what])
    .filter(([count]) => count)
    .map(([count, what]) => `${count} ${what}`);
  const runtimes = ["diffusers", "torch", "onnxruntime", "openvino", "python"]
    .filter((name) => versions[name])
    .map((name) => `${name} ${versions[name]}`);
  const dates = [...new Set(rows.map(({ date }) => date))].sort().join(" and ");
  return (
    `${machine.cpu} (${machine.features}), ${machine.cores} cores, ${machine.platform}; ${dtype}, ${threads} threads; ` +
    `${counts.length > 0 ? `medians of ${counts.join(", ")}; ` : ""}LibTorch ${versions.libtorch}, Node ${versions.node.slice(1)}, ${runtimes.join(", ")}; ${dates}.`
  );
}

/** `"1.62x"` */
export function times(value) {
  return `${value.toFixed(2)}x`;
}

function show({ value, unit }) {
  if (unit === "ms" && value >= 10_000) return `${(value / 1000).toFixed(1)} s`;
  const digits = value < 10 ? 2 : 0;
  return unit === "x" ? times(value) : `${value.toFixed(unit === "%" ? 2 : digits)} ${unit}`;
}
