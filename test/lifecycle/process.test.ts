import t from "tap";
import { runProgram } from "./run-program.js";

t.test("process.exit() during a forward keeps its exit code", async (t) => {
  t.match(await runProgram("exit-during-forward.cjs", "exit"), { code: 7, signal: null });
});

t.test("process.exit() does not wait for a load that never ends", async (t) => {
  const since = performance.now();
  t.match(await runProgram("exit-during-load.cjs"), { code: 7, signal: null, output: "" });
  const seconds = (performance.now() - since) / 1000;
  // It is given five seconds.
  t.ok(seconds > 5 && seconds < 30, `it took ${seconds.toFixed(1)} s`);
});

t.test("an uncaught exception during a forward ends as any other", async (t) => {
  t.match(await runProgram("exit-during-forward.cjs", "throw"), { code: 1, signal: null, output: /on purpose/ });
});

t.test("a process waits for what it was asked to compute", async (t) => {
  t.match(await runProgram("exit-during-forward.cjs", "wait"), { code: 0, signal: null, output: /^settled\n$/ });
});

t.test("a module that is disposed while it runs runs out", async (t) => {
  t.match(await runProgram("exit-during-forward.cjs", "dispose"), { code: 0, signal: null, output: /^256,256\n$/ });
});

t.test("terminated workers do not take the process down, and the addon loads again after the last", async (t) => {
  const ending = await runProgram("workers.cjs", "terminate");
  t.match(ending, { code: 0, signal: null, output: "terminated 1\nterminated 1\ncomputed 4\n" });
});

t.test("the main thread goes on after a worker was terminated", async (t) => {
  t.match(await runProgram("workers.cjs", "main-goes-on"), { code: 0, signal: null, output: "computed 256,256\n" });
});

t.test("workers share one executor", async (t) => {
  t.match(await runProgram("workers.cjs", "share"), { code: 0, signal: null, output: "equal true\n" });
});

t.test("process.exit() while a worker computes", async (t) => {
  t.match(await runProgram("workers.cjs", "exit"), { code: 7, signal: null });
});

t.test("configure() may be called more than once before LibTorch is opened", async (t) => {
  t.match(await runProgram("configure.cjs"), {
    code: 0,
    signal: null,
    output: "3 configure({ libtorch })\nERR_INVALID_STATE\n1\n",
  });
});

t.test(
  "threads belong to the executor alone, whoever else was here",
  { skip: process.platform !== "linux" && "counts threads in /proc" },
  async (t) => {
    // Three threads are the executor and two helpers; the event loop computes alone.
    t.match(await runProgram("threads.cjs"), { code: 0, signal: null, output: "event loop 0 executor 2\n" });
  },
);

t.test(
  "threads that cannot be had",
  { skip: process.platform !== "linux" && "limits itself by prlimit" },
  async (t) => {
    t.test("fail the call, with a code", async (t) => {
      const ending = await runProgram("too-many-threads.cjs");
      t.match(ending, {
        code: 0,
        signal: null,
        output: /^ERR_OUT_OF_MEMORY .*only \d+ of 63 more threads.*\n1048576\n$/,
      });
    });

    t.test("end the process where OpenMP does, and do not keep it from ending", async (t) => {
      const ending = await runProgram("too-many-threads.cjs", "openmp");
      t.match(ending, { code: 1, signal: null, output: /libgomp/ });
    });
  },
);

t.test(
  "data() without memory for the copy",
  { skip: process.platform !== "linux" && "limits itself by prlimit" },
  async (t) => {
    const ending = await runProgram("no-memory.cjs");
    t.match(ending, { code: 0, signal: null, output: "ERR_OUT_OF_MEMORY\n1,1,1\nERR_OUT_OF_MEMORY\n1,1,1\n" });
  },
);
