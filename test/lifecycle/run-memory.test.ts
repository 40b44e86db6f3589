import t from "tap";
import { runProgram } from "./run-program.js";

const skip = process.platform !== "linux" && "limits itself by prlimit, and reads /proc";

t.test("a run takes what it was estimated to take, and not several times as much", { skip }, async (t) => {
  const { code, output } = await runProgram("run-memory.cjs", "4000");
  t.equal(code, 0, output);
  const runs = output.trim().split("\n");
  t.equal(runs.length, 2);
  for (const run of runs) {
    const [taken = 0, estimate = 0] = run.split(" ").map(Number);
    t.ok(estimate <= taken, `no run is refused that could fit: took ${taken} MiB, estimated ${estimate}`);
    t.ok(estimate > taken / 2.5, `the estimate is no fraction of it: took ${taken} MiB, estimated ${estimate}`);
  }
});

for (const way of ["generate", "forward", "decode", "load", "move", "tensor"]) {
  t.test(
    `memory that the system refuses: ${way} fails with a code, and the next smaller one succeeds`,
    { skip },
    async (t) => {
      t.match(await runProgram("refused-memory.cjs", way), {
        code: 0,
        signal: null,
        output: "ERR_OUT_OF_MEMORY\ndone\nERR_OUT_OF_MEMORY\ndone\n1\n",
      });
    },
  );
}
