// argv[2]: the folder of a second copy of the package. Both compute, in one process, with everything optimised.
const { join } = require("node:path");
const first = require("../../../dist/index.js");
const second = require(join(process.argv[2], "dist", "index.js"));

/** A network that every pass takes up. */
async function compute({ Generator, Tensor }, folder) {
  const { ScriptModule } = require(join(folder, "dist", "torch", "script-module.js"));
  const source =
    "def forward(self, x):\n    return torch.silu(torch.group_norm(torch.conv2d(x, self.weight, None, [1, 1], [1, 1], [1, 1], 1), 4, None, None, 1e-5, True))";
  const spec = { name: "Net", source, parameters: [["weight", [32, 32, 3, 3]]], children: [] };
  const weight = Generator.fromSeed(0).randn([32, 32, 3, 3]);
  const module = await ScriptModule.define(spec, new Map([["weight", weight]]));
  return (await module.forward(Generator.fromSeed(1).randn([1, 32, 40, 40]))).data();
}

(async () => {
  const [a, b] = [await compute(first, join(__dirname, "..", "..", "..")), await compute(second, process.argv[2])];
  console.log(
    "two copies:",
    first.Tensor !== second.Tensor,
    "largest difference below 1e-3:",
    Math.max(...a.map((value, i) => Math.abs(value - b[i]))) < 1e-3,
  );
})();
