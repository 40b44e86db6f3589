import t from "tap";
import type { FloatingDType } from "../../lib/torch/device.js";
import { Generator, op, Tensor } from "../../lib/index.js";
import { ScriptModule } from "../../lib/torch/script-module.js";

/**
 * What optimised networks do as stock ones: dtypes, shapes and refusals, where a pass could have taken too much. How exactly
 * they compute is the matter of kernels.test.ts.
 */
interface Case {
  /** The lines of `forward`, which takes `x` and, with a second input, `r`. */
  readonly lines: readonly string[];
  readonly parameters?: Readonly<Record<string, readonly number[]>>;
  readonly inputs: readonly Tensor[];
  readonly dtype?: FloatingDType;
  /** The code of the error that both are. */
  readonly refused?: string;
}

const generator = Generator.fromSeed(0);
const random = (...shape: readonly number[]): Tensor => generator.randn(shape);
const narrow = (tensor: Tensor): Tensor => op("to.dtype", tensor, "bfloat16");

const CONV = "torch.conv2d(x, self.w, self.b, [1, 1], [1, 1], [1, 1], 1)";
const WEIGHTS = { w: [40, 40, 3, 3], b: [40] };
const picture = random(1, 40, 8, 8);

async function outcome(
  { lines, parameters = {}, inputs, dtype = "float32" }: Case,
  optimize: boolean,
  weights: ReadonlyMap<string, Tensor>,
): Promise<string | Tensor> {
  const source = [`def forward(self, x${inputs.length > 1 ? ", r" : ""}):`, ...lines.map((line) => `    ${line}`)].join(
    "\n",
  );
  using module = await ScriptModule.define(
    { name: "Net", source, parameters: Object.entries(parameters), children: [] },
    weights,
    { dtype, optimize },
  );
  // A network may write into what it is given.
  const copies = inputs.map((input) => op("add.Scalar", input, 0));
  try {
    return (await module.forward(...copies)) as Tensor;
  } catch (error) {
    return (error as { code: string }).code;
  }
}

async function values(tensor: Tensor): Promise<number[]> {
  return Array.from(await (await tensor.to("float64")).data(), Number);
}

function checkCases(name: string, cases: Readonly<Record<string, Case>>): void {
  t.test(name, async (t) => {
    for (const [name, work] of Object.entries(cases)) {
      const weights = new Map(
        Object.entries(work.parameters ?? {}).map(([key, shape]) => [key, op("div.Scalar", random(...shape), 20)]),
      );
      const [stock, own] = [await outcome(work, false, weights), await outcome(work, true, weights)];
      if (typeof stock === "string" || typeof own === "string") {
        t.strictSame([stock, own], [work.refused, work.refused], name);
        continue;
      }
      t.equal(work.refused, undefined, `${name} runs`);
      t.strictSame([own.dtype, own.shape], [stock.dtype, stock.shape], name);
      const expected = await values(stock);
      const worst = (await values(own)).reduce(
        (most, value, i) => Math.max(most, Math.abs(value - (expected[i] ?? NaN))),
        0,
      );
      t.ok(worst < (stock.dtype === "bfloat16" ? 0.1 : 1e-3), `${name} differs by ${worst}`);
    }
  });
}

checkCases("what is added in place keeps the result's dtype and shape", {
  "of the same dtype": {
    lines: [`y = ${CONV}`, "y += r", "return y"],
    parameters: WEIGHTS,
    inputs: [picture, random(1, 40, 8, 8)],
  },
  "float32 to bfloat16": {
    lines: [`y = ${CONV}`, "y += r", "return y"],
    parameters: WEIGHTS,
    inputs: [narrow(picture), random(1, 40, 8, 8)],
    dtype: "bfloat16",
  },
  "float32 to bfloat16, then a layer": {
    lines: [`x = ${CONV}`, "x += r", `return ${CONV}`],
    parameters: WEIGHTS,
    inputs: [narrow(picture), random(1, 40, 1, 1)],
    dtype: "bfloat16",
  },
  "what would enlarge it": {
    refused: "ERR_TORCH",
    lines: [`y = ${CONV}`, "y += r", "return y"],
    parameters: WEIGHTS,
    inputs: [picture, random(2, 40, 8, 8)],
  },
});

checkCases("layouts change nothing that a network sees", {
  "a view of a convolution's result": {
    lines: [`y = ${CONV}`, "return y.view(y.size(0), -1)"],
    parameters: WEIGHTS,
    inputs: [picture],
  },
  "a view of it after a sum in place": {
    lines: [`y = ${CONV}`, "y += r", "return y.view(y.size(0), -1)"],
    parameters: WEIGHTS,
    inputs: [picture, random(1, 40, 8, 8)],
  },
  "a view like another tensor": {
    lines: [`return ${CONV}.view_as(r)`],
    parameters: WEIGHTS,
    inputs: [picture, random(1, 2560)],
  },
  "a view of a small convolution's result": {
    lines: ["y = torch.conv2d(x, self.w, None, [1, 1], [0, 0], [1, 1], 1)", "return y.view(-1)"],
    parameters: { w: [5, 3, 2, 2] },
    inputs: [random(2, 3, 9, 7)],
  },
  "a view of a parameter": {
    lines: ["return x + self.p.view(1, -1)"],
    parameters: { p: [1, 8, 4, 4] },
    inputs: [random(1, 128)],
  },
  "a view of attention": {
    lines: ["return torch.scaled_dot_product_attention(x, x, x).view(-1, 8)"],
    inputs: [random(2, 3, 4, 32)],
  },
  "a view that is written into": {
    lines: [`y = ${CONV}`, "y.view(-1).mul_(2)", "return y"],
    parameters: WEIGHTS,
    inputs: [picture],
  },
  "a view whose base is written into": {
    lines: [`y = ${CONV}`, "z = y.view(1, -1)", "y.mul_(2)", "return z"],
    parameters: WEIGHTS,
    inputs: [picture],
  },
  "a view in a loop, written in the next round": {
    lines: [
      "z = x.view(-1)",
      "for i in range(3):",
      `    x = ${CONV}`,
      "    z = x.view(-1)",
      "    x.mul_(2)",
      "return z",
    ],
    parameters: WEIGHTS,
    inputs: [picture],
  },
  "an unsafe view": {
    lines: [`y = ${CONV}`, "return torch._unsafe_view(y, [1, -1])"],
    parameters: WEIGHTS,
    inputs: [picture],
  },
  "a reshaping that is written into": {
    lines: [`y = ${CONV}`, "y.reshape(-1).mul_(2)", "return y"],
    parameters: WEIGHTS,
    inputs: [picture],
  },
  "a reshaping whose base is written into": {
    lines: [`y = ${CONV}`, "z = y.reshape(1, -1)", "y.mul_(2)", "return z"],
    parameters: WEIGHTS,
    inputs: [picture],
  },
  "a flattening that is written into": {
    lines: [`y = ${CONV}`, "y.flatten().mul_(2)", "return y"],
    parameters: WEIGHTS,
    inputs: [picture],
  },
  "what is contiguous already, written into": {
    lines: [`y = ${CONV}`, "y.contiguous().mul_(2)", "return y"],
    parameters: WEIGHTS,
    inputs: [picture],
  },
  "another shape of the same memory": {
    lines: [`y = ${CONV}`, "return torch._reshape_alias(y, [40, 64], [64, 1])"],
    parameters: WEIGHTS,
    inputs: [picture],
  },
  "strided by numbers": {
    lines: [`y = ${CONV}`, "return y.as_strided([40], [64])"],
    parameters: WEIGHTS,
    inputs: [picture],
  },
  "strides that are read": { lines: [`y = ${CONV}`, "return y * y.stride(1)"], parameters: WEIGHTS, inputs: [picture] },
  "complex numbers side by side": {
    lines: [`y = ${CONV}`, "return torch.view_as_real(torch.view_as_complex(y))"],
    parameters: WEIGHTS,
    inputs: [random(1, 40, 8, 2)],
  },
});

checkCases("what a kernel has no rules for follows LibTorch's", {
  "a linear layer's bias of one number": {
    lines: ["return torch.linear(x, self.w, self.b)"],
    parameters: { w: [40, 40], b: [] },
    inputs: [random(3, 40)],
  },
  "a linear layer's bias of a row": {
    lines: ["return torch.linear(x, self.w, self.b)"],
    parameters: { w: [40, 40], b: [1, 40] },
    inputs: [random(3, 40)],
  },
  "a linear layer's bias of several rows": {
    lines: ["return torch.linear(x, self.w, self.b)"],
    parameters: { w: [40, 40], b: [3, 40] },
    inputs: [random(3, 40)],
  },
  "a linear layer's bias that is given": {
    lines: ["return torch.linear(x, self.w, r)"],
    parameters: { w: [40, 40] },
    inputs: [random(3, 40), random(40)],
  },
  "a convolution's bias of a row": {
    refused: "ERR_TORCH",
    lines: [`return ${CONV}`],
    parameters: { ...WEIGHTS, b: [1, 40] },
    inputs: [picture],
  },
  "a norm of no groups": {
    refused: "ERR_TORCH",
    lines: ["x = torch.group_norm(x, 0, None, None, 1e-5, True)", `return ${CONV}`],
    parameters: WEIGHTS,
    inputs: [picture],
  },
  "a norm of fewer": {
    refused: "ERR_TORCH",
    lines: ["x = torch.group_norm(x, -8, None, None, 1e-5, True)", `return ${CONV}`],
    parameters: WEIGHTS,
    inputs: [picture],
  },
  "a norm of as many groups as there are pictures": {
    lines: ["x = torch.group_norm(x, x.size(0), None, None, 1e-5, True)", `return ${CONV}`],
    parameters: WEIGHTS,
    inputs: [picture],
  },
  "no pictures and a number": {
    lines: [`return ${CONV} + r`],
    parameters: WEIGHTS,
    inputs: [random(0, 40, 8, 8), random(1)],
  },
  "no pictures and one": {
    lines: [`return ${CONV} + r`],
    parameters: WEIGHTS,
    inputs: [random(0, 40, 8, 8), op("to.dtype", random(1, 40, 8, 8), "float64")],
  },
  "no pictures and what fits none": {
    refused: "ERR_TORCH",
    lines: [`return ${CONV} + r`],
    parameters: WEIGHTS,
    inputs: [random(0, 40, 8, 8), random(7, 1, 1, 3)],
  },
  "codes for integers": {
    refused: "ERR_TORCH",
    lines: ["return torch.argmin(torch.cdist(x, r), 1)"],
    inputs: [Tensor.from(new Int32Array(6), [2, 3]), random(7, 3)],
  },
});

checkCases("sizes that are none are LibTorch's to refuse", {
  "an enlargement that is no number": {
    refused: "ERR_TORCH",
    lines: ["x = torch.upsample_nearest2d(x, None, [float('nan'), 2.0])", `return ${CONV}`],
    parameters: WEIGHTS,
    inputs: [picture],
  },
  "an endless one": {
    refused: "ERR_TORCH",
    lines: ["x = torch.upsample_nearest2d(x, None, [1e300, 2.0])", `return ${CONV}`],
    parameters: WEIGHTS,
    inputs: [picture],
  },
  "an endless border": {
    refused: "ERR_TORCH",
    lines: [
      "y = torch.conv2d(x, self.w, None, [1, 1], [9223372036854775807, 4611686018427387904], [1, 1], 1)",
      `x = y`,
      `return ${CONV}`,
    ],
    parameters: WEIGHTS,
    inputs: [picture],
  },
});

t.test("attention over more keys than memory could pack is out of memory, and nothing worse", async (t) => {
  const source =
    "def forward(self, q, count: int):\n    k = q.expand(1, 1, count * 1024, q.size(3))\n    return torch.scaled_dot_product_attention(q, k, k)";
  using module = await ScriptModule.define({ name: "Net", source, parameters: [], children: [] }, new Map());
  for (const count of [2 ** 40, 2 ** 45, 2 ** 47]) {
    await t.rejects(module.forward(random(1, 1, 1, 32), count), { code: "ERR_OUT_OF_MEMORY" }, String(count));
  }
});
