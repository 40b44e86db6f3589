import { mkdirSync, rmSync } from "node:fs";
import { inProject } from "../scripts/setup/paths.mjs";
import { peersFolder } from "../scripts/setup/peers.mjs";
import { Worker } from "./worker.mjs";

/** Everything is compared with this one: diffusers as it comes, in float32 whatever the others' dtype is. */
export const DIFFUSERS = "diffusers";
/** This package as it comes. */
export const OURS = "default";
/** The same, where a CPU has AMX, as on one that does not. */
export const WITHOUT_AMX = "default, without AMX";

/**
 * The rivals, each at its best settings: `worker` is its file in bench/workers, `options` go to its `load`, `needs` is what
 * bench/export_networks.py writes for it.
 */
const RIVALS = [
  {
    key: "channels-last",
    name: "diffusers, channels_last",
    worker: "diffusers",
    options: { channels_last: true },
    dtypes: ["float32", "bfloat16"],
  },
  { key: "compile", name: "torch.compile, freezing", worker: "compile", options: {}, dtypes: ["float32", "bfloat16"] },
  {
    key: "onednn-graph",
    name: "TorchScript, oneDNN Graph",
    worker: "onednn_graph",
    options: {},
    dtypes: ["float32", "bfloat16"],
  },
  {
    key: "onnxruntime",
    name: "ONNX Runtime",
    worker: "onnxruntime",
    options: {},
    dtypes: ["float32"],
    needs: "onnxruntime",
  },
  {
    key: "openvino",
    name: "OpenVINO",
    worker: "openvino",
    options: {},
    dtypes: ["float32", "bfloat16"],
    needs: "openvino",
  },
];

export const RIVAL_KEYS = RIVALS.map(({ key }) => key);

/**
 * @typedef {object} Participant
 * @property {string} name
 * @property {boolean} rival whether it counts for the best rival; diffusers as it comes does in its own dtype
 * @property {boolean} always it takes part in every round of everything; others may take long to prepare
 * @property {string} [needs] an export that it runs, of one shape
 * @property {(options?: { cold?: boolean }) => Worker} open start its process; `cold`: with no compiler's cache
 * @property {object} request what its "start" is asked with
 */

/**
 * Who takes part: diffusers first, everything else is compared with it.
 * @param {{ python: string, libTorch: string }} reference all but the exported networks run over this one LibTorch
 * @param {{ model: string, threads: number, dtype: string, rivals: readonly string[], amx: boolean }} options `amx`: this CPU has it
 * @returns {Participant[]}
 */
export function participants({ python, libTorch }, { model, threads, dtype, rivals, amx }) {
  const env = {
    ...process.env,
    LATENT_DIFFUSION_LIBTORCH: libTorch,
    HF_HUB_OFFLINE: "1",
    PYTHONDONTWRITEBYTECODE: "1",
    TORCHINDUCTOR_CACHE_DIR: inProject(".local/bench/inductor"),
  };
  const common = { rival: false, always: true };
  const peer =
    (worker, needs) =>
    ({ cold = false } = {}) => {
      const extra = {
        ...(needs && { PYTHONPATH: peersFolder }),
        ...(cold && { TORCHINDUCTOR_CACHE_DIR: emptyFolder(".local/bench/inductor-cold") }),
      };
      return new Worker([python, inProject(`bench/workers/${worker}_worker.py`)], { ...env, ...extra });
    };
  const node =
    (extra = {}) =>
    () =>
      new Worker([process.execPath, inProject("bench/workers/node-worker.mjs")], { ...env, ...extra });
  const request = { model, threads, dtype };
  return [
    {
      ...common,
      name: DIFFUSERS,
      rival: dtype === "float32",
      open: peer("diffusers"),
      request: { ...request, dtype: "float32" },
    },
    ...RIVALS.filter((rival) => rivals.includes(rival.key) && rival.dtypes.includes(dtype)).map(
      ({ worker, options, ...rest }) => ({
        ...common,
        ...rest,
        rival: true,
        always: false,
        open: peer(worker, rest.needs),
        request: { ...request, ...options },
      }),
    ),
    { ...common, name: "optimize: false", open: node(), request: { ...request, optimize: false } },
    // No rival computes float32 by AMX: so this is how we stand on CPUs that do not have it, nearly.
    ...(amx && dtype === "float32"
      ? [
          {
            ...common,
            always: false,
            name: WITHOUT_AMX,
            open: node({ LATENT_DIFFUSION_WITHOUT_AMX: "1" }),
            request: { ...request, optimize: true },
          },
        ]
      : []),
    { ...common, name: OURS, open: node(), request: { ...request, optimize: true } },
  ];
}

function emptyFolder(path) {
  rmSync(inProject(path), { recursive: true, force: true });
  mkdirSync(inProject(path), { recursive: true });
  return inProject(path);
}

/**
 * Split those who are to take turns into groups that fit in memory together; diffusers and this package are in each.
 * @param {readonly Participant[]} taking
 * @param {number} each bytes that one may take
 * @param {number} available bytes
 */
export function inGroups(taking, each, available) {
  const anchors = taking.filter(({ name }) => name === DIFFUSERS || name === OURS);
  const others = taking.filter((participant) => !anchors.includes(participant));
  const size = Math.max(1, Math.floor((0.8 * available) / each) - anchors.length);
  const groups = [];
  for (let start = 0; start === 0 || start < others.length; start += size) {
    groups.push([anchors[0], ...others.slice(start, start + size), ...anchors.slice(1)]);
  }
  return groups;
}
