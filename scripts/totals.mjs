// `node scripts/totals.mjs unit parity`: adds up what tap counted in those runs. The last line, which machines read, is always
// "N passed, N failed"; what was skipped stands above it.
import { sumTotals } from "./setup/tap.mjs";

const { lines, passed, failed } = sumTotals(process.argv.slice(2));
for (const line of lines) console.log(line);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
