import { join } from "node:path";
import { type PipelineConfig, removeModelIndex, writeModelIndex } from "../../checkpoint/model-index.js";
import type { SaveWeightsOptions } from "../../checkpoint/weights.js";
import { readConfig, writeConfig } from "../../config/config-file.js";
import { LatentDiffusionError, throwIfAborted } from "../../errors.js";
import { checkHubOptions, type HubOptions } from "../../hub/options.js";
import { checkRepositoryId } from "../../hub/repository.js";
import { type PushedCommit, uploadFolder, withTemporaryFolder } from "../../hub/upload.js";
import { VQ_CLASS } from "../../models/vq/config.js";
import { checkBoolean, checkOptions, checkString } from "../../validate.js";
import type { LDMComponents } from "./components.js";

/** Options of {@link LDMPipeline.pushToHub}. */
export interface PushOptions
  extends SaveWeightsOptions, Pick<HubOptions, "token" | "revision" | "endpoint" | "signal"> {
  /** Whether a repository that is made is private; default: what its owner's settings say. */
  private?: boolean;
  /** Default `"Upload LDMPipeline"`. */
  commitMessage?: string;
}

const PUSH_OPTIONS = ["private", "commitMessage", "token", "revision", "endpoint", "signal"];

/** What is saved of a pipeline. */
export interface SavedPipeline {
  readonly components: LDMComponents;
  readonly scalingFactor: number;
  readonly config: PipelineConfig;
}

/** Save in diffusers' layout; `model_index.json` comes last. */
export async function savePipeline(
  folder: string,
  pipeline: SavedPipeline,
  options: SaveWeightsOptions | undefined,
): Promise<void> {
  const { unet, vqvae, scheduler } = pipeline.components;
  if (!unet.savePretrained || !vqvae.savePretrained) {
    throw new LatentDiffusionError(
      "ERR_CONFIG_UNSUPPORTED",
      "A pipeline of TorchScript modules cannot be saved for diffusers; module.save(path) saves each as it is",
    );
  }
  await unet.savePretrained(join(folder, "unet"), options);
  // A folder with an index is a whole one: from the first component's place to the last's there is none.
  await removeModelIndex(folder);
  await vqvae.savePretrained(join(folder, "vqvae"), options);
  if (pipeline.scalingFactor !== vqvae.config.scaling_factor)
    await saveScalingFactor(join(folder, "vqvae"), pipeline.scalingFactor);
  await scheduler.savePretrained(join(folder, "scheduler"));
  await writeModelIndex(folder, pipeline.config);
}

/** The vqvae's own config keeps the factor that it was made with. */
async function saveScalingFactor(folder: string, scalingFactor: number): Promise<void> {
  const config = await readConfig(folder, "config.json", "VQModel");
  await writeConfig(folder, "config.json", VQ_CLASS, { ...config, scaling_factor: scalingFactor });
}

/** Save into a temporary folder by `save`, and upload what is there in one commit. */
export async function pushPipeline(
  id: string,
  options: PushOptions | undefined,
  save: (folder: string, weights: SaveWeightsOptions) => Promise<void>,
): Promise<PushedCommit> {
  const known = [...PUSH_OPTIONS, "dtype", "maxShardSize", "variant"];
  const checked = checkOptions(options, known, "LDMPipeline.pushToHub");
  const { private: isPrivate, commitMessage, token, revision, endpoint, signal, ...weights } = checked;
  if (isPrivate !== undefined) checkBoolean(isPrivate, "private");
  const message = commitMessage === undefined ? "Upload LDMPipeline" : checkString(commitMessage, "commitMessage");
  const settings = checkHubOptions({ token, revision, endpoint, signal });
  checkRepositoryId(id, "id");
  throwIfAborted(signal);
  return withTemporaryFolder(async (folder) => {
    await save(folder, { ...weights, signal });
    return uploadFolder({ id, folder, isPrivate, message }, settings);
  });
}
