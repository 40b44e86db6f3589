// Where the time of this package's networks goes, by kind of operator: `npm run bench -- --profile`.
import { createRequire } from "node:module";

/** Calls that are counted, after as many that are not. */
const CALLS = 3;

/**
 * Print the operators' own times of a step and of a decode, as the executor counts them.
 * @param {{ model: string, threads: number, dtype: string }} options
 * @param {(text: string) => void} print
 */
export async function profile({ model, threads, dtype }, print) {
  const require = createRequire(import.meta.url);
  const { configure, Generator, LDMPipeline } = require("../dist/index.js");
  const { native } = require("../dist/native/open.js");
  if (typeof native().profileOperators !== "function") return print("This build has no operator profile.");
  configure({ threads });
  const pipe = await LDMPipeline.fromPretrained(model, { dtype });
  const { in_channels: channels, sample_size: size } = pipe.unet.config;
  const x = await Generator.fromSeed(0).randn([1, channels, size, size]).to(dtype);
  for (const [what, call] of [
    ["UNet step", () => pipe.unet.forward(x, 500)],
    ["decode", () => pipe.vqvae.decode(x)],
  ]) {
    await repeat(call);
    native().profileOperators(true);
    await repeat(call);
    print(
      `\n${what}, ${dtype}: milliseconds by kind of operator\n\n${formatOperators(native().profileOperators(false))}`,
    );
  }
  x.dispose();
  pipe.dispose();
}

async function repeat(call) {
  for (let i = 0; i < CALLS; i++) (await call()).sample.dispose();
}

/** @param {readonly import("../dist/native/contract.js").OperatorTime[]} operators all calls of one operator with one shape */
function formatOperators(operators) {
  const total = operators.reduce((sum, { milliseconds }) => sum + milliseconds, 0) / CALLS;
  const kinds = groupByKind(operators);
  const lines = [...kinds]
    .map(([kind, of]) => {
      const sum = (key) => of.reduce((all, operator) => all + operator[key], 0) / CALLS;
      return { kind, calls: sum("calls"), milliseconds: sum("milliseconds") };
    })
    .sort((a, b) => b.milliseconds - a.milliseconds);
  const format = ({ kind, calls, milliseconds }) =>
    `${milliseconds.toFixed(1).padStart(9)} ${((100 * milliseconds) / total).toFixed(1).padStart(6)} % ${String(calls).padStart(6)} calls  ${kind}`;
  return [
    format({ kind: "all", calls: lines.reduce((sum, { calls }) => sum + calls, 0), milliseconds: total }),
    ...lines.map(format),
  ].join("\n");
}

function groupByKind(operators) {
  const kinds = new Map();
  for (const operator of operators) {
    const [kind] = operator.name.split(" ");
    kinds.set(kind, [...(kinds.get(kind) ?? []), operator]);
  }
  return kinds;
}
