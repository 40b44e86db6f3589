import type { ComparedRun } from "./scheduler-cases.js";

/**
 * Say for each scheduler how many settings and steps were compared, and how closely.
 * @returns a table in Markdown
 */
export function schedulerReport(runs: readonly ComparedRun[]): string {
  const names = [...new Set(runs.map(({ className }) => className))].sort();
  const rows = names.flatMap((name) => {
    const own = runs.filter(({ className }) => className === name);
    const reasons = [...new Set(own.map(({ why }) => why))].sort();
    return reasons.map((why) =>
      row(
        name,
        own.filter((run) => run.why === why),
      ),
    );
  });
  return [
    "| scheduler | settings | evaluations each | evaluations | compared | failed |",
    "|---|---|---|---|---|---|",
    ...rows,
    "",
  ].join("\n");
}

function row(name: string, runs: readonly ComparedRun[]): string {
  const counts = runs.map(({ evaluations }) => evaluations);
  const largest = Math.max(...runs.map(({ tolerance }) => tolerance));
  const total = counts.reduce((sum, count) => sum + count, 0);
  const compared = largest === 0 ? "bit for bit" : `relative ${largest.toExponential()}: ${runs[0]?.why ?? ""}`;
  const failed = runs.filter(({ passed }) => !passed).length;
  return `| ${name} | ${runs.length} | ${Math.min(...counts)} to ${Math.max(...counts)} | ${total} | ${compared} | ${failed} |`;
}
