import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import t, { type Test } from "tap";
import { UNet2DModel } from "../../lib/models/unet-2d/model.js";
import { VQModel } from "../../lib/models/vq/model.js";
import { LDMPipeline } from "../../lib/pipelines/ldm.js";
import { configure } from "../../lib/native/open.js";
import { DDIMScheduler } from "../../lib/schedulers/ddim.js";
import { Generator } from "../../lib/torch/generator.js";
import { expectedOf, readPipelineCase, replayRun } from "../support/pipeline-cases.js";

// Whole pictures, bit for bit, with `optimize: false`: the same library, thread count and batch on both sides, and both load the
// same files, since MKL rounds by the address of a weight (docs/reproducibility.md).

const root = process.env.PARITY_DIR;
const skip =
  root === undefined ? "needs the files of reference/pipelines.py in PARITY_DIR: npm run test:parity" : false;
const reference = join(root ?? "", "pipelines");
const cases = existsSync(reference) ? readdirSync(reference) : [];
if (skip === false) configure({ threads: Number(process.env.PARITY_THREADS ?? 2) });

for (const name of cases) {
  const folder = join(reference, name);
  t.test(`${name}: networks that TypeScript wrote`, { skip }, async (t) => {
    const { runs, tensors } = readPipelineCase(folder);
    for (const dtype of new Set(runs.map((run) => run.dtype))) {
      const pipe = await LDMPipeline.fromPretrained(join(folder, "checkpoint"), { dtype, optimize: false });
      t.teardown(() => pipe.dispose());
      for (const [i, run] of runs.entries())
        if (run.dtype === dtype) await replayRun(t, pipe, run, expectedOf(tensors, i), 0);
    }
  });

  for (const dtype of readPipelineCase(folder).exports) {
    t.test(`${name}: TorchScript that Python exported in ${dtype}`, { skip }, async (t) => {
      const { runs, tensors } = readPipelineCase(folder);
      const exported = join(folder, `torchscript-${dtype}`);
      const pipe = await LDMPipeline.fromTorchScript({
        unet: join(exported, "unet.pt"),
        vqDecoder: join(exported, "vq_decoder.pt"),
        scheduler: exported,
        config: join(exported, "config.json"),
        trusted: true,
        optimize: false,
      });
      t.teardown(() => pipe.dispose());
      t.equal(pipe.dtype, dtype);
      const place = dtype === "float32" ? "aligned." : "";
      for (const [i, run] of runs.entries())
        if (run.dtype === dtype) await replayRun(t, pipe, run, expectedOf(tensors, i, place), 0);
    });
  }
}

t.test("moved to another dtype, a pipeline is what it would be if loaded so", { skip }, async (t) => {
  const folder = join(reference, "ldm");
  const { runs, tensors } = readPipelineCase(folder);
  const pipe = await LDMPipeline.fromPretrained(join(folder, "checkpoint"), { optimize: false });
  t.teardown(() => pipe.dispose());
  for (const dtype of ["bfloat16", "float64", "float32"] as const) {
    await pipe.to(dtype);
    const i = runs.findIndex((run) => run.dtype === dtype);
    const run = runs[i];
    if (run) await replayRun(t, pipe, run, expectedOf(tensors, i), 0);
  }
});

t.test("what Python saved, loaded and saved again, is the same folder", { skip }, async (t) => {
  for (const name of cases.filter((name) => name !== "older-than-scaling-factor")) {
    const original = join(reference, name, "checkpoint");
    const pipe = await LDMPipeline.fromPretrained(original);
    t.teardown(() => pipe.dispose());
    const copy = t.testdir({});
    await pipe.savePretrained(copy);
    const files = (readdirSync(original, { recursive: true }) as string[]).filter((file) => file.includes(".")).sort();
    t.strictSame(
      (readdirSync(copy, { recursive: true }) as string[]).filter((file) => file.includes(".")).sort(),
      files,
    );
    for (const file of files)
      t.ok(
        readFileSync(join(copy, file)).equals(readFileSync(join(original, file))),
        `${name}: ${file}, byte for byte`,
      );
  }
});

/** The interpreter of the reference environment, which stands beside the LibTorch that these tests run on. */
function python(): string {
  const site = dirname(process.env.LATENT_DIFFUSION_LIBTORCH ?? "");
  return process.env.PARITY_PYTHON ?? join(site, "..", "..", "..", "bin", "python");
}

/** Save a pipeline, let Python and this library load it, and compare what both generate. */
async function loadInPython(t: Test, pipe: LDMPipeline): Promise<Record<string, Record<string, unknown>>> {
  const folder = t.testdir({});
  await pipe.savePretrained(join(folder, "checkpoint"));
  const script = join(__dirname, "reference", "pipelines.py");
  const out = join(folder, "out");
  mkdirSync(out);
  execFileSync(python(), [script, "--load", join(folder, "checkpoint"), "--out", out], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const { runs, tensors } = readPipelineCase(out);
  const loaded = await LDMPipeline.fromPretrained(join(folder, "checkpoint"), { optimize: false });
  t.teardown(() => loaded.dispose());
  for (const [i, run] of runs.entries()) await replayRun(t, loaded, run, expectedOf(tensors, i), 0);
  return (
    JSON.parse(readFileSync(join(out, "case.json"), "utf8")) as { configs: Record<string, Record<string, unknown>> }
  ).configs;
}

t.test("what TypeScript made and saved, Python loads, and draws the same pictures", { skip }, async (t) => {
  using generator = Generator.fromSeed(0);
  const unet = await UNet2DModel.fromConfig(
    {
      sample_size: 8,
      block_out_channels: [16, 32],
      layers_per_block: 1,
      norm_num_groups: 8,
      attention_head_dim: 8,
      down_block_types: ["DownBlock2D", "AttnDownBlock2D"],
      up_block_types: ["AttnUpBlock2D", "UpBlock2D"],
    },
    { optimize: false, generator },
  );
  const vqvae = await VQModel.fromConfig(
    {
      block_out_channels: [8, 16],
      down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D"],
      up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D"],
      norm_num_groups: 4,
      num_vq_embeddings: 16,
      sample_size: 16,
    },
    { optimize: false, generator },
  );
  const scheduler = new DDIMScheduler({
    beta_schedule: "squaredcos_cap_v2",
    clip_sample_range: 3,
    prediction_type: "sample",
  });
  const pipe = new LDMPipeline({ vqvae, unet, scheduler });
  t.teardown(() => pipe.dispose());
  const configs = await loadInPython(t, pipe);
  t.equal(configs.vqvae?.scaling_factor, 0.18215, "a config written by hand has diffusers' default");
  t.equal(configs.scheduler?.clip_sample_range, 3);
});

t.test("a scaling factor that was given is saved, and Python divides by it", { skip }, async (t) => {
  const pipe = await LDMPipeline.fromPretrained(join(reference, "older-than-scaling-factor", "checkpoint"), {
    optimize: false,
    scalingFactor: 0.5,
  });
  t.teardown(() => pipe.dispose());
  const configs = await loadInPython(t, pipe);
  t.equal(configs.vqvae?.scaling_factor, 0.5);
});
