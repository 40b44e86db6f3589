// `npm run bench`: this package beside Python diffusers, in the same run, over the same LibTorch. Options:
//   --peers              beside its rivals too, each at its best settings; installs them under .local/
//   --peer openvino      one of the rivals only: channels-last, compile, onednn-graph, onnxruntime, openvino; may be repeated
//   --suite steps        one suite only: start, steps, whole, shapes or event-loop; may be repeated
//   --dtype both         float32 (the default), bfloat16 or both
//   --quick              a tiny network: tries the benchmark itself, and its figures mean nothing
//   --profile            only where this package's own time goes, by kind of operator
//   --rounds 12 --trials 3 --threads 2
//   --write              keep the result: bench/results, the tables and the plot of docs/performance.md
import { readFileSync } from "node:fs";
import { cpus, freemem } from "node:os";
import { parseArgs } from "node:util";
import { runMain, setup } from "../scripts/setup.mjs";
import { SetupError } from "../scripts/setup/command.mjs";
import { inProject } from "../scripts/setup/paths.mjs";
import { ensurePeers } from "../scripts/setup/peers.mjs";
import { ensureReference } from "../scripts/setup/reference.mjs";
import { Report } from "../scripts/setup/report.mjs";
import { ensureExports, ensureModel, weightBytes } from "./model.mjs";
import { DIFFUSERS, inGroups, OURS, participants, RIVAL_KEYS } from "./participants.mjs";
import { profile } from "./profile.mjs";
import { keep } from "./results.mjs";
import { runEventLoop } from "./suites/event-loop.mjs";
import { runShapes } from "./suites/shapes.mjs";
import { runStart } from "./suites/start.mjs";
import { runSteps } from "./suites/steps.mjs";
import { runWhole } from "./suites/whole-run.mjs";
import { formatResult } from "./table.mjs";

const SUITES = {
  start: ({ reference, options }, note) => runStart(reference, options, note),
  steps: ({ taking, options }, note) => runSteps(inGroups(taking, memoryOfOne(options), freemem()), options, note),
  whole: ({ taking, options }, note) => runWhole(taking, options, note),
  shapes: ({ taking, options }, note) => runShapes(taking, options, note),
  "event-loop": ({ taking, options }, note) => runEventLoop(taking, options, note),
};

await runMain(async () => {
  const options = readOptions();
  const report = new Report();
  await setup({ report });
  const reference = await report.part("reference", ensureReference);
  if (options.rivals.length > 0) await report.part("rivals", (say) => ensurePeers(say, reference));
  await report.part("model", (say) => ensureModel(say, options, reference));
  for (const dtype of options.dtypes) {
    if (options.profile) await profile({ ...options, dtype }, (text) => report.write(text));
    else await measure({ ...options, dtype }, reference, report);
  }
});

function readOptions() {
  const { values } = parseArgs({
    options: {
      peers: { type: "boolean", default: false },
      peer: { type: "string", multiple: true },
      quick: { type: "boolean", default: false },
      profile: { type: "boolean", default: false },
      write: { type: "boolean", default: false },
      suite: { type: "string", multiple: true, default: Object.keys(SUITES) },
      rounds: { type: "string", default: "12" },
      trials: { type: "string", default: "3" },
      threads: { type: "string", default: String(Math.min(2, cpus().length)) },
      dtype: { type: "string", default: "float32" },
    },
  });
  const { quick, write, suite: suites, dtype } = values;
  const [rounds, trials, threads] = [values.rounds, values.trials, values.threads].map(Number);
  const rivals = values.peer ?? (values.peers ? RIVAL_KEYS : []);
  checkNames("--suite", suites, Object.keys(SUITES));
  checkNames("--peer", rivals, RIVAL_KEYS);
  checkNames("--dtype", [dtype], ["float32", "bfloat16", "both"]);
  if (quick && write)
    throw new SetupError("Expected --write without --quick, whose figures mean nothing", "Leave one of them out.");
  return {
    quick,
    write,
    suites,
    rivals,
    rounds,
    trials,
    threads,
    profile: values.profile,
    dtypes: dtype === "both" ? ["float32", "bfloat16"] : [dtype],
    model: inProject(quick ? ".local/bench/tiny" : ".local/bench/full-size"),
    amx: cpuFeatures().includes("AMX"),
    decodes: Math.ceil(rounds / 2),
    rivalTrials: 1,
    starts: 3 * trials + 1,
    wholeSteps: 4,
    longSteps: 50,
  };
}

function checkNames(option, given, known) {
  const wrong = given.find((name) => !known.includes(name));
  if (wrong !== undefined)
    throw new SetupError(
      `Expected one of ${known.join(", ")} for ${option} but received "${wrong}"`,
      "See the head of bench/run.mjs.",
    );
}

async function measure(options, reference, report) {
  const taking = participants(reference, options);
  await report.part("exports", (say) => ensureExports(say, options, reference, taking));
  const versions = await report.part("versions", (say) => describeVersions(say, taking));
  const rows = [];
  for (const name of options.suites) {
    const found = await report.part(name, async (say) => ({
      result: "measured",
      value: await SUITES[name]({ taking, reference, options }, say),
    }));
    rows.push(...found);
    const result = { ...describeRun(options), versions, rows };
    // Suite by suite, so that an interrupted run has not been for nothing.
    if (options.write) keep(result);
    if (name === options.suites.at(-1)) report.write(`\n${formatResult(result)}`);
  }
}

/** What one holds on average: most hold the weights once or twice, as they are and packed, a few thrice; and their libraries. */
function memoryOfOne({ model }) {
  return 2 * weightBytes(model) + 500 * 2 ** 20;
}

/** Versions, as the participants themselves report them. */
async function describeVersions(say, taking) {
  const versions = {};
  const ofOneTorch = ({ name, needs }) => name === DIFFUSERS || name === OURS || needs !== undefined;
  for (const { name, open, request } of taking.filter(ofOneTorch)) {
    say(`asking ${name}`);
    const worker = open();
    Object.assign(versions, await worker.ask("versions", request));
    await worker.close();
  }
  return { result: "asked", value: versions };
}

function describeRun({ quick, dtype, threads }) {
  const { version } = JSON.parse(readFileSync(inProject("package.json"), "utf8"));
  const machine = {
    cpu: cpus()[0].model.trim(),
    features: cpuFeatures(),
    cores: cpus().length,
    platform: `${process.platform} ${process.arch}`,
  };
  return { package: version, quick, dtype, threads, machine };
}

/** What decides on the speed of networks, where the system tells. */
function cpuFeatures() {
  let flags = [];
  try {
    flags = /^flags\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1].split(" ") ?? [];
  } catch {
    // Linux has it, others do not.
  }
  const known = { avx2: "AVX2", avx512f: "AVX-512", avx512_bf16: "AVX-512 BF16", amx_bf16: "AMX" };
  return (
    Object.entries(known)
      .filter(([flag]) => flags.includes(flag))
      .map(([, name]) => name)
      .join(", ") || process.arch
  );
}
