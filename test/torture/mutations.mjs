// Files of every kind, damaged at random: each loads, or fails with a typed error; within a second, without holding the event loop, and
// without taking memory of a size that the file only claims.
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  CHECKPOINT,
  faultOf,
  fail,
  figure,
  finish,
  FIXTURES,
  inside,
  library,
  quantile,
  randomizer,
  readFixture,
  runProgram,
  seed,
  settledMemory,
  times,
  watchLoop,
} from "./common.mjs";
import { mutate, mutateJson } from "./programs/mutate.mjs";

const { Generator, LDMPipeline, UNet2DModel, VQModel, DDIMScheduler } = library;
const { CommandError } = inside("cli/failure.js");
const { TorchFile } = inside("checkpoint/torch-file.js");
const { writeSafetensors } = inside("checkpoint/safetensors.js");
const { readRecipe, addRecipe, thisMaker } = inside("cli/recipe.js");

const folder = mkdtempSync(join(tmpdir(), "latent-diffusion-torture-"));
cpSync(CHECKPOINT, join(folder, "checkpoint"), { recursive: true });
const place = (...path) => join(folder, "checkpoint", ...path);

/** A file in a checkpoint, and what reads it. */
const inCheckpoint = (path, load, change = mutateJson) => ({
  bytes: readFixture("pipelines", "tiny", "checkpoint", ...path),
  change,
  attempt: async (bytes) => {
    writeFileSync(place(...path), bytes);
    (await load())?.dispose?.();
  },
});

/** A file of torch.save: every tensor's bytes are read, too. */
const ofTorchSave = (name) => ({
  bytes: readFixture("torch-save", name),
  change: mutate,
  attempt: async (bytes) => {
    writeFileSync(join(folder, name), bytes);
    const file = await TorchFile.open(join(folder, name));
    try {
      const state = file.value instanceof Map ? file.value.get("state_dict") : undefined;
      await writeSafetensors(join(folder, "read.safetensors"), await file.tensorsOf(state ?? file.value));
    } finally {
      file.dispose();
    }
  },
});

const state = () => {
  const generator = Generator.fromSeed(5);
  generator.randn([3]);
  return Buffer.from(generator.getState());
};

async function picture() {
  const { images } = await (await LDMPipeline.fromPretrained(CHECKPOINT)).generate({ numInferenceSteps: 1, seed: 1 });
  const recipe = {
    model: "x",
    seed: 1,
    count: 1,
    batch: 1,
    picture: 0,
    steps: 1,
    eta: 0,
    dtype: "float32",
    device: "cpu",
  };
  return addRecipe(await images[0].toBuffer("png"), recipe, thisMaker("0.0.0"));
}

const kinds = {
  "safetensors, as a whole": inCheckpoint(
    ["unet", "diffusion_pytorch_model.safetensors"],
    () => UNet2DModel.fromPretrained(place("unet")),
    mutate,
  ),
  "safetensors, its header": {
    ...inCheckpoint(["vqvae", "diffusion_pytorch_model.safetensors"], () => VQModel.fromPretrained(place("vqvae"))),
    change: (bytes, random) => {
      const end = 8 + Number(bytes.readBigUInt64LE(0));
      const header = mutateJson(bytes.subarray(8, end), random);
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(header.length));
      return Buffer.concat([length, header, bytes.subarray(end)]);
    },
  },
  "a UNet's config": inCheckpoint(["unet", "config.json"], () => UNet2DModel.fromPretrained(place("unet"))),
  "a VQ model's config": inCheckpoint(["vqvae", "config.json"], () => VQModel.fromPretrained(place("vqvae"))),
  "a scheduler's config": inCheckpoint(["scheduler", "scheduler_config.json"], async () => {
    await DDIMScheduler.fromPretrained(place("scheduler"));
  }),
  "model_index.json": inCheckpoint(["model_index.json"], () => LDMPipeline.fromPretrained(place())),
  "torch.save, zip": ofTorchSave("zip.bin"),
  "torch.save, older": ofTorchSave("legacy.bin"),
  "torch.save, Lightning": ofTorchSave("lightning.ckpt"),
  "a generator's state": {
    bytes: state(),
    change: mutate,
    attempt: async (bytes) => {
      const generator = Generator.fromSeed(1);
      generator.setState(bytes);
      generator.randn([700]);
      generator.dispose();
    },
  },
  "a PNG's text": {
    bytes: await picture(),
    change: mutate,
    attempt: async (bytes) => {
      writeFileSync(join(folder, "picture.png"), bytes);
      await readRecipe(join(folder, "picture.png"));
    },
  },
};

/** What the command line says of a picture; no error of the library. */
const isCommandError = (error) => error instanceof CommandError;

const held = watchLoop();
let longest = 0;
let longestHeld = 0;

/** A busy machine makes anything slow once: what is slow is tried again, and its quickest try counts. */
async function measure(attempt, bytes, name) {
  let best = { time: Infinity, held: Infinity };
  let accepted = false;
  for (let round = 0; round < 4 && (best.time > 1000 || best.held > 50); round++) {
    await new Promise(setImmediate);
    held();
    const began = performance.now();
    try {
      await attempt(bytes);
      accepted = true;
    } catch (error) {
      const fault = isCommandError(error) ? undefined : faultOf(error);
      if (fault) fail(`${name}: ${fault}`);
    }
    best = {
      time: Math.min(best.time, performance.now() - began),
      held: Math.min(best.held, held()),
    };
  }
  if (best.time > 1000 || best.held > 50)
    fail(`${name}: took ${best.time.toFixed(0)} ms, held the event loop for ${best.held.toFixed(0)} ms`);
  longest = Math.max(longest, best.time);
  longestHeld = Math.max(longestHeld, best.held);
  return accepted;
}

const each = times(900, 40);
const taken = [];
for (const [kind, { bytes, change, attempt }] of Object.entries(kinds)) {
  await attempt(bytes);
  const before = await settledMemory();
  const random = randomizer(seed + taken.length);
  let accepted = 0;
  for (let i = 0; i < each; i++) {
    const mutated = change(bytes, random);
    if (await measure(attempt, mutated, `${kind}, mutation ${i} of seed ${seed}`)) accepted++;
  }
  await attempt(bytes);
  taken.push((await settledMemory()) - before);
  console.log(`${kind}: ${each} mutations, ${accepted} loaded, ${each - accepted} refused`);
  if (accepted === each) fail(`${kind}: no mutation was noticed, so none was one`);
}
figure("mutations", each * Object.keys(kinds).length);
figure("longest load or refusal", longest, { most: 1000, unit: "ms" });
figure("longest hold of the event loop", longestHeld, { most: 50, unit: "ms" });
figure("most memory that a kind left behind", Math.max(...taken), { most: 64, unit: "MiB" });
figure("median", quantile(taken, 0.5), { unit: "MiB" });

// LibTorch reads TorchScript archives: each batch has a process of its own, which must not crash.
const batches = times(10, 1);
for (let batch = 0; batch < batches; batch++) {
  const { code, signal, output } = await runProgram("mutated-torchscript.mjs", {
    args: [String(seed + batch), String(times(60, 20)), join(FIXTURES, "torchscript", "frozen-bfloat16.pt")],
    timeout: 300_000,
  });
  if (code !== 0) fail(`TorchScript, batch ${batch}: ${signal ?? code} ${output.slice(-300)}`);
  else if (batch === 0) console.log(`TorchScript, each batch: ${output.trim()}`);
}

rmSync(folder, { recursive: true });
finish();
