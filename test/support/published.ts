import { copyFileSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { writeSafetensors } from "../../lib/checkpoint/safetensors.js";
import type { JsonObject } from "../../lib/files/json.js";
import { parametersOf } from "../../lib/models/network-model.js";
import { completeUNet2DConfig } from "../../lib/models/unet-2d/config.js";
import type { UNet2DModel } from "../../lib/models/unet-2d/model.js";
import { unet2dNetwork } from "../../lib/models/unet-2d/network.js";
import { completeVQConfig } from "../../lib/models/vq/config.js";
import type { VQModel } from "../../lib/models/vq/model.js";
import { vqNetwork } from "../../lib/models/vq/network.js";
import type { Scheduler } from "../../lib/schedulers/contract.js";
import { Generator } from "../../lib/torch/generator.js";
import { op, Tensor } from "../../lib/torch/tensor.js";

export const PUBLISHED = join(process.cwd(), "test", "fixtures", "published");
export type PublishedKind = "unet" | "vq" | "scheduler";

/** The names of the configs of one kind. */
export function publishedNames(kind: PublishedKind | "refused"): string[] {
  return readdirSync(join(PUBLISHED, kind))
    .map((file) => basename(file, ".json"))
    .sort();
}

/** A config of the fixtures, parsed. */
export function readPublished(kind: PublishedKind | "refused", name: string): JsonObject {
  // Python writes -Infinity, which JSON does not have.
  const text = readFileSync(join(PUBLISHED, kind, `${name}.json`), "utf8").replace("-Infinity", "-1e999");
  return JSON.parse(text) as JsonObject;
}

/** Make a folder of a published config and, for a network, the weights that reference/published.py draws. */
export async function makePublished(kind: PublishedKind, name: string, folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const file = kind === "scheduler" ? "scheduler_config.json" : "config.json";
  copyFileSync(join(PUBLISHED, kind, `${name}.json`), join(folder, file));
  if (kind === "scheduler") return;
  const config = readPublished(kind, name);
  const spec = kind === "unet" ? unet2dNetwork(completeUNet2DConfig(config)) : vqNetwork(completeVQConfig(config));
  const weights = new Map<string, Tensor>();
  for (const [seed, [parameter, shape]] of parametersOf(spec)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .entries())
    weights.set(parameter, draw(seed, parameter, shape));
  await writeSafetensors(join(folder, "diffusion_pytorch_model.safetensors"), weights);
}

function draw(seed: number, name: string, shape: readonly number[]): Tensor {
  const values = seeded(shape, seed);
  if (shape.length > 1) {
    const fanIn = shape.slice(1).reduce((product, size) => product * size, 1);
    return op("mul.Scalar", values, fanIn ** -0.5);
  }
  const scaled = op("mul.Scalar", values, 0.2);
  return name.endsWith(".weight") ? op("add.Scalar", scaled, 1) : scaled;
}

/** Standard normal numbers from a generator of their own. */
export function seeded(shape: readonly number[], seed: number): Tensor {
  using generator = Generator.fromSeed(seed);
  return generator.randn(shape);
}

/** Forward as reference/published.py does. */
export async function runUNet(model: UNet2DModel): Promise<Tensor> {
  const side = Math.max(16, 2 ** model.config.block_out_channels.length);
  const classes = model.config.num_class_embeds !== null;
  const labels = classes ? { classLabels: op("to.dtype", Tensor.from([3]), "int64") } : {};
  return (await model.forward(seeded([1, model.config.in_channels, side, side], 1), 37, labels)).sample;
}

/** Decode and encode as reference/published.py does. */
export async function runVQ(model: VQModel): Promise<{ output: Tensor; encoded: Tensor }> {
  const { vq_embed_dim: codes, latent_channels: channels, block_out_channels: levels } = model.config;
  const side = 4 * 2 ** (levels.length - 1);
  const { sample: output } = await model.decode(seeded([1, codes ?? channels, 8, 8], 1));
  const { latents: encoded } = await model.encode(seeded([1, 3, side, side], 2));
  return { output, encoded };
}

/** Step as reference/published.py does. */
export function runScheduler(scheduler: Scheduler): Tensor {
  const shape = [2, 3, 4, 4];
  using generator = Generator.fromSeed(2);
  scheduler.setTimesteps(6);
  let sample = seeded(shape, 1);
  for (const [i, timestep] of scheduler.timesteps.entries()) {
    scheduler.scaleModelInput(sample, timestep);
    sample = scheduler.step(seeded(shape, 100 + i), timestep, sample, { generator }).prevSample;
  }
  return sample;
}
