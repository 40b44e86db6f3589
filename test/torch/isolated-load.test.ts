import { join } from "node:path";
import t from "tap";
import { Generator, ScriptModule, Tensor } from "../../lib/index.js";

const FIXTURES = join(__dirname, "..", "fixtures", "torchscript");
const load = (name: string, isolate: unknown, signal?: AbortSignal): Promise<ScriptModule> =>
  ScriptModule.load(join(FIXTURES, name), { trusted: true, isolate: isolate as boolean, signal });

t.test("a file that loads in a child process is loaded here", async (t) => {
  using module = await load("frozen-bfloat16.pt", true);
  t.strictSame(module.info.methods, ["forward"]);
});

t.test("a file that crashes whoever loads it crashes the child", async (t) => {
  await t.rejects(load("crash.pt", true), {
    code: "ERR_TORCHSCRIPT_INVALID",
    message: /crash\.pt: the child process that loaded it ended with SIGFPE/,
  });
});

t.test("a file whose loading never ends is given up", async (t) => {
  await t.rejects(load("endless.pt", { timeout: 3000 }), {
    code: "ERR_TORCHSCRIPT_INVALID",
    message: /endless\.pt: the child process that loaded it did not end within 3 s/,
  });
  const controller = new AbortController();
  setTimeout(() => controller.abort("enough"), 1000);
  await t.rejects(load("endless.pt", true, controller.signal), { code: "ERR_ABORTED", cause: "enough" });
});

t.test("what the child says is said here, with its code", async (t) => {
  await t.rejects(load("none.pt", true), { code: "ERR_CHECKPOINT_NOT_FOUND", message: /none\.pt/ });
  await t.rejects(load("frozen.py", { timeout: 50_000 }), {
    code: "ERR_TORCHSCRIPT_INVALID",
    message: /no end of a zip archive/,
  });
  for (const isolate of [1, "yes", null, { timeout: 0 }, { timeout: "1" }, { limit: 1 }])
    await t.rejects(load("frozen-bfloat16.pt", isolate), { code: "ERR_INVALID_ARGUMENT", message: /isolate/ });
});

t.test("a division that no int holds is an error: of constants, and of what comes later", async (t) => {
  const operators = ["//", "%"];
  for (const operator of operators) {
    const folded = `torch.mul(x, (-9223372036854775807 - 1) ${operator} -1)`;
    const later = `torch.mul(x, (a - 1) ${operator} b)`;
    for (const optimize of [true, false]) {
      const source = [
        `def folded(self, x):\n    return ${folded}`,
        `def forward(self, x, a: int, b: int):\n    return ${later}`,
      ].join("\n");
      using module = await ScriptModule.define({ name: "Net", source, parameters: [], children: [] }, new Map(), {
        optimize,
      });
      const x = Generator.fromSeed(0).randn([2]);
      await t.rejects(
        module.call("folded", [x]),
        { code: "ERR_TORCH", message: /by -1, which no int holds/ },
        operator,
      );
      const zero = module.forward(x, 4, 0);
      await t.rejects(zero, { code: "ERR_TORCH", message: /integer division or modulo by zero/ }, operator);
      const seven = (await module.forward(Tensor.from([1]), -6, 2)) as Tensor;
      t.strictSame([...(await seven.data())], [operator === "//" ? -4 : 1], `-7 ${operator} 2, as in Python`);
    }
  }
});
