// What the programs of this folder share: they run as plain Node processes on the built package, so that their exit
// codes and signals are a user's.
const { join } = require("node:path");

const dist = join(__dirname, "..", "..", "..", "dist");
const { Tensor } = require(join(dist, "index.js"));
const { ScriptModule } = require(join(dist, "torch", "script-module.js"));

/**
 * A module whose forward multiplies a matrix with itself as often as it is told: work of any length. The cosine keeps the values near
 * 1: numbers that fade away become denormal, with which a CPU computes fifty times as long.
 */
function defineWork(options) {
  const source = [
    "def forward(self, x, rounds: int):",
    "    for _ in range(rounds):",
    "        x = torch.cos(torch.matmul(x, self.weight))",
    "    return x",
  ].join("\n");
  const spec = { name: "Work", source, parameters: [["weight", [256, 256]]], children: [] };
  return ScriptModule.define(spec, new Map([["weight", matrix()]]), options);
}

function matrix() {
  return Tensor.from(
    new Float32Array(256 * 256).map((_, i) => Math.sin(i)),
    [256, 256],
  );
}

/** Rounds that take some hundred milliseconds: long beside everything the tests wait for. */
const LONG = 400;

module.exports = { defineWork, LONG, matrix };
