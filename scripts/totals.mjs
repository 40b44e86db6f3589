// `node scripts/totals.mjs unit parity`: adds up what tap counted in those runs; the last line of CI.
import { readTotals } from "./setup/tap.mjs";

const sum = { passed: 0, failed: 0, skipped: 0 };
for (const name of process.argv.slice(2)) {
  const totals = readTotals(name);
  console.log(`${name}: ${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
  for (const key of Object.keys(sum)) sum[key] += totals[key];
}
console.log(`${sum.passed} passed, ${sum.failed} failed${sum.skipped > 0 ? `, ${sum.skipped} skipped` : ""}`);
process.exitCode = sum.failed === 0 && sum.passed > 0 ? 0 : 1;
