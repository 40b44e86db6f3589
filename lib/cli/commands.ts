import { build } from "./build.js";
import { type Command, defineCommand, type OptionTable } from "./command.js";
import { doctor } from "./doctor.js";
import { download } from "./download.js";
import { generate } from "./generate.js";
import { install } from "./install.js";
import { listSchedulers } from "./schedulers.js";

/** Options of `generate`. */
export const GENERATE_TABLE = {
  model: {
    type: "text",
    short: "m",
    value: "model",
    help: "A folder in diffusers' layout, a repository on the hub (owner/name), or a folder with unet.pt and vq_decoder.pt; without it, the demo checkpoint",
  },
  out: {
    type: "text",
    short: "o",
    value: "file",
    default: "picture.png",
    help: "Where to write; several pictures are numbered; - writes to standard output",
  },
  count: { type: "integer", short: "n", value: "number", default: 1, least: 1, help: "How many pictures to make" },
  grid: { type: "flag", help: "Write all pictures side by side into one file" },
  seed: {
    type: "integer",
    short: "s",
    value: "number",
    default: 0,
    least: 0,
    help: "The seed of the first picture; each next one takes the next seed",
  },
  steps: { type: "integer", value: "number", default: 50, least: 1, help: "Steps of the scheduler" },
  scheduler: {
    type: "text",
    value: "name",
    help: "A name from `latent-diffusion schedulers`; without it, the one that the model comes with",
  },
  eta: {
    type: "number",
    value: "number",
    default: 0,
    least: 0,
    most: 1,
    help: "The weight of fresh noise in each step (ddim)",
  },
  size: {
    type: "text",
    value: "pixels",
    help: "256, or 256x128 for width x height; without it, what the model was made for",
  },
  batch: { type: "integer", value: "number", default: 4, least: 1, help: "How many pictures to compute at once" },
  device: { type: "text", value: "name", default: "cpu", help: "cpu, cuda or cuda:1" },
  dtype: {
    type: "text",
    value: "name",
    default: "float32",
    choices: ["float32", "float64", "float16", "bfloat16"],
    help: "What to compute in",
  },
  trusted: { type: "flag", help: "Allow TorchScript files, which run code of the file" },
  again: { type: "text", value: "picture", help: "Make the same picture again, by what the PNG says of itself" },
} as const satisfies OptionTable;

/** Options of `download`. */
export const DOWNLOAD_TABLE = {
  revision: { type: "text", value: "name", help: "A branch, a tag or a commit; without it, main" },
  variant: {
    type: "text",
    value: "name",
    help: "The variant of the weights, such as fp16, of each network that has it",
  },
  token: { type: "text", value: "token", help: "An access token; without it, HF_TOKEN or the one of `hf auth login`" },
  cache: { type: "text", value: "folder", help: "The cache's folder; without it, the one that Python uses" },
  endpoint: { type: "text", value: "address", help: "The hub's address; without it, HF_ENDPOINT or Hugging Face" },
  force: { type: "flag", help: "Download again what is in the cache" },
  offline: { type: "flag", help: "Send no request: say whether the cache has the model, and where" },
} as const satisfies OptionTable;

/** Options of `doctor`. */
export const DOCTOR_TABLE = {
  here: { type: "flag", help: "Try LibTorch in this process instead of another one, which a crash cannot take along" },
} as const satisfies OptionTable;

/** Options of `install`. */
export const INSTALL_TABLE = {
  from: {
    type: "text",
    value: "path",
    help: "A folder of wheels that you downloaded, or one wheel; what is missing there is downloaded",
  },
  url: {
    type: "text",
    value: "address",
    help: "A package index (a mirror of PyPI's), or a folder of wheels on a server; without it, pip is asked for its own index",
  },
} as const satisfies OptionTable;

/** Every command: parsing, help and docs/cli.md follow from this table. */
export const COMMANDS: readonly Command[] = [
  defineCommand({
    name: "generate",
    summary: "Make pictures",
    description:
      "Each picture is written as soon as it is finished, and carries its model, seed and options as text. Ctrl+C keeps what is finished.",
    operands: [],
    options: GENERATE_TABLE,
    examples: [
      ["generate --count 16 --grid --out faces.png", "sixteen pictures of the demo model in one file"],
      ["generate --model ./my-model --count 4 --seed 7 --out face.png", "face-1.png to face-4.png, seeds 7 to 10"],
      ["generate --model CompVis/ldm-celebahq-256", "a model of the hub, downloaded the first time"],
      ["generate --again face-3.png --out same.png", "the same pixels again"],
      ["generate --out - | convert - face.jpg", "into another program"],
    ],
    run: generate,
  }),
  defineCommand({
    name: "download",
    summary: "Download a model from the Hugging Face hub",
    description:
      "The needed files come into the cache that Python's huggingface_hub shares, and the folder is printed. Ctrl+C keeps what has come: the next call continues.",
    operands: ["<repository>"],
    options: DOWNLOAD_TABLE,
    examples: [
      ["download CompVis/ldm-celebahq-256", "the model of diffusers' documentation"],
      ["download owner/name --revision v2 --variant fp16", "the 16-bit weights of a tag"],
      ["download owner/name --offline", "where it is, without the network"],
    ],
    run: download,
  }),
  defineCommand({
    name: "schedulers",
    summary: "List the schedulers that --scheduler takes",
    description: "One line for each: the short name, the class of diffusers, and the settings that the name decides.",
    operands: [],
    options: {},
    examples: [["schedulers", "the short names of this version"]],
    run: listSchedulers,
  }),
  defineCommand({
    name: "doctor",
    summary: "Say what is installed, what works and what is missing",
    description:
      "Shows the machine, LibTorch, the addon and the result of a self-test of about a second. The exit code is 1 if networks cannot run. A bug report should hold the output.",
    operands: [],
    options: DOCTOR_TABLE,
    examples: [
      ["doctor", "for people"],
      ["doctor --json", "for programs"],
    ],
    run: doctor,
  }),
  defineCommand({
    name: "install",
    summary: "Install LibTorch's CUDA build for NVIDIA GPUs",
    description:
      "Downloads the wheels of PyTorch's CUDA build (2.5 GB) and unpacks their libraries (3.8 GB) into this user's cache, then tries them in another process. " +
      "Every wheel is checked against a known SHA-256. A download that was interrupted goes on where it stopped. " +
      "Linux x64 only. Written, and not yet run on a GPU.",
    operands: ["cuda"],
    options: INSTALL_TABLE,
    examples: [
      ["install cuda", "from the index that pip is configured for"],
      ["install cuda --url $MIRROR", "from the index at this address; no Python is needed"],
      ["install cuda --from ./wheels", "without a network"],
    ],
    run: install,
  }),
  defineCommand({
    name: "build",
    summary: "Build the native addon from source",
    description:
      "In a checkout, does what `npm run setup` does: LibTorch, addon, TypeScript. An installed package has no sources; there it says how to get them.",
    operands: [],
    options: {},
    examples: [["build", "build what is missing or out of date"]],
    run: build,
  }),
];
