import t from "tap";
import { runProgram } from "./run-program.js";

// 1000 rounds of each allocate between 0.25 and 1 MiB a round: what leaked would be hundreds.
const LIMIT_MIB = 100;

for (const kind of ["tensors", "generators", "modules", "forwards", "moves", "failures"]) {
  t.test(`${kind} give their memory back`, async (t) => {
    const { code, output } = await runProgram("memory.cjs", kind);
    t.equal(code, 0, output);
    const grown = Number.parseFloat(output);
    t.ok(grown < LIMIT_MIB, `grew by ${grown} MiB`);
  });
}
