import t from "tap";
import { runProgram } from "./run-program.js";

async function measure(what: string): Promise<number[]> {
  const { code, output } = await runProgram("large-tensors.cjs", what);
  if (code !== 0) throw new Error(output);
  return output.trim().split(" ").map(Number);
}

t.test(
  "memory of large tensors",
  { skip: process.platform !== "linux" && "LibTorch's own allocator serves" },
  async (t) => {
    t.test("is handed out again", async (t) => {
      const [fresh = Number.NaN] = await measure("fresh");
      t.ok(fresh < 0.1, `${fresh} of a tensor's pages are fresh`);
    });

    t.test("is not kept beyond what was needed at once", async (t) => {
      // 32 MiB may be. Were all of it kept, it would be 960.
      const [above = Number.NaN] = await measure("peak");
      t.ok(above < 64, `${above} MiB above the largest tensor`);
    });

    t.test("goes back as it is no longer in use, the rest after a pause", async (t) => {
      const [atOnce = Number.NaN, later = Number.NaN] = await measure("pause");
      t.ok(atOnce > 32 && atOnce < 96, `${atOnce} MiB of 200 are kept`);
      t.ok(later < 16, `${later} MiB after a pause`);
    });

    t.test("is not kept by a kernel that needed much of it once", async (t) => {
      const [most = Number.NaN, after = Number.NaN] = await measure("scratch");
      t.ok(most > 128, `${most} MiB were packed`);
      t.ok(after < 64, `${after} MiB stay`);
    });

    t.test("belongs to one tensor, whichever environments compute", async (t) => {
      t.match(await runProgram("large-tensors.cjs", "environments"), { code: 0, signal: null, output: "true\n" });
    });
  },
);
