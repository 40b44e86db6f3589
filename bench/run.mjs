// `npm run bench`: this package beside Python diffusers, in the same run, over the same LibTorch. Options:
//   --quick              a tiny network: tries the benchmark itself, and its figures mean nothing
//   --suite start        one suite: start, steps or whole; may be repeated
//   --rounds 15 --trials 3 --threads 2 --dtype float32
//   --write              keep the result: bench/results/<date>.json and the table in docs/performance.md
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { runMain, setup } from "../scripts/setup.mjs";
import { runCommand } from "../scripts/setup/command.mjs";
import { inProject } from "../scripts/setup/paths.mjs";
import { ensureReference } from "../scripts/setup/reference.mjs";
import { Report } from "../scripts/setup/report.mjs";
import { runStart } from "./suites/start.mjs";
import { runSteps } from "./suites/steps.mjs";
import { runWhole } from "./suites/whole-run.mjs";
import { formatTable } from "./table.mjs";
import { participants } from "./worker.mjs";

await runMain(async () => {
  const options = readOptions();
  const report = new Report();
  await setup({ report });
  const reference = await report.part("reference", ensureReference);
  await report.part("model", (say) => ensureModel(say, options, reference));
  const taking = participants(reference);
  const suites = {
    start: (note) => runStart(reference, options, note),
    steps: (note) => runSteps(taking, options, note),
    whole: (note) => runWhole(taking, options, note),
  };
  const rows = [];
  for (const name of options.suites) {
    const found = await report.part(name, async (say) => ({ result: "measured", value: await suites[name](say) }));
    rows.push(...found);
  }
  const result = { ...await describeRun(taking, options), rows };
  report.write(`\n${formatTable(result)}`);
  if (options.write) keep(result);
});

function readOptions() {
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean", default: false },
      write: { type: "boolean", default: false },
      suite: { type: "string", multiple: true, default: ["start", "steps", "whole"] },
      rounds: { type: "string", default: "15" },
      trials: { type: "string", default: "3" },
      threads: { type: "string", default: String(Math.min(2, cpus().length)) },
      dtype: { type: "string", default: "float32" },
    },
  });
  return {
    quick: values.quick,
    write: values.write,
    suites: values.suite,
    model: inProject(values.quick ? ".local/bench/tiny" : ".local/bench/full-size"),
    threads: Number(values.threads),
    dtype: values.dtype,
    rounds: Number(values.rounds),
    decodes: Math.ceil(Number(values.rounds) / 3),
    trials: Number(values.trials),
    starts: 3 * Number(values.trials) + 1,
    wholeSteps: 4,
  };
}

async function ensureModel(say, { model, quick }, { python }) {
  if (!existsSync(`${model}/model_index.json`)) {
    say("letting diffusers write a model with random weights");
    const command = [python, inProject("bench/make_full_size.py"), "--out", model, ...quick ? ["--tiny"] : []];
    await runCommand(command, { log: "bench-model", advice: "It needs 1.3 GB under .local/bench." });
  }
  // Read once, so that nobody's time to load pays for a cold disk.
  for (const part of ["unet", "vqvae"]) readFileSync(`${model}/${part}/diffusion_pytorch_model.safetensors`);
  return { result: quick ? "a tiny network: the figures mean nothing" : "the full-size network, random weights" };
}

/** Hardware and versions, as the participants themselves report them. */
async function describeRun([peer, own], { model, threads, dtype, quick }) {
  const versions = {};
  for (const { open, optimize } of [peer, own]) {
    const worker = open();
    Object.assign(versions, await worker.ask("start", { model, threads, optimize, dtype }));
    await worker.close();
  }
  // Times of a single start, which the suites measure properly.
  delete versions.import;
  delete versions.load;
  const { version } = JSON.parse(readFileSync(inProject("package.json"), "utf8"));
  const machine = { cpu: cpus()[0].model.trim(), cores: cpus().length, platform: `${process.platform} ${process.arch}` };
  return { date: new Date().toISOString(), package: version, quick, dtype, threads, machine, versions };
}

function keep(result) {
  mkdirSync(inProject("bench/results"), { recursive: true });
  const stem = `${result.date.slice(0, 10)}-${result.machine.cpu.toLowerCase().replace(/[^a-z0-9]+/g, "-")}-${result.dtype}`;
  writeFileSync(inProject(`bench/results/${stem}.json`), `${JSON.stringify(result, null, 2)}\n`);
  const page = inProject("docs/performance.md");
  const text = readFileSync(page, "utf8");
  const table = `<!-- bench: written by \`npm run bench -- --write\` -->\n${formatTable(result)}\n<!-- end of bench -->`;
  writeFileSync(page, text.replace(/<!-- bench:[\s\S]*<!-- end of bench -->/, () => table));
}
