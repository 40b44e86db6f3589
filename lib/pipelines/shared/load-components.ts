import { stat } from "node:fs/promises";
import { join } from "node:path";
import { checkExecution } from "../../torch/device.js";
import { InvalidArgumentError, LatentDiffusionError, throwIfAborted } from "../../errors.js";
import { UNet2DModel } from "../../models/unet-2d/model.js";
import { VQModel } from "../../models/vq/model.js";
import { COMPONENT_NAMES, type ComponentName, type ModelIndex, readModelIndex } from "../../checkpoint/model-index.js";
import { hasVariant } from "../../checkpoint/weights.js";
import { loadScheduler } from "../../schedulers/known.js";
import type { Scheduler } from "../../schedulers/contract.js";
import type { ExecutionOptions } from "../../torch/execution.js";
import { checkSignal, checkString } from "../../validate.js";
import { checkUsable } from "./components.js";

/** Components to take instead of the folder's, and how to load the others. */
export interface LoadOptions extends ExecutionOptions {
  unet?: UNet2DModel;
  vqvae?: VQModel;
  scheduler?: Scheduler;
  /** Weights of a variant, `"fp16"`, of each network that has it. */
  variant?: string;
  /** Ends the wait at once, with an AbortError; what was loaded is freed. */
  signal?: AbortSignal;
}

/** The components of a pipeline that was loaded from a diffusers checkpoint. */
export interface DiffusersComponents {
  readonly vqvae: VQModel;
  readonly unet: UNet2DModel;
  readonly scheduler: Scheduler;
}

/** The class that a folder must name for each network. */
const NETWORK_CLASSES = { unet: "UNet2DModel", vqvae: "VQModel" } as const;

/**
 * Load the components of a folder in diffusers' layout; nothing stays open if one fails.
 * @throws LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND`, `ERR_CHECKPOINT_INVALID`, `ERR_CONFIG_UNSUPPORTED` and what loading throws
 */
export async function loadComponents(
  folder: string,
  { unet, vqvae, scheduler, variant, signal, ...execution }: LoadOptions,
): Promise<DiffusersComponents> {
  // Also where all networks are brought, and nothing is left to load by them.
  checkExecution(execution);
  checkUsable({ unet, vqvae, scheduler });
  throwIfAborted(checkSignal(signal, "signal"));
  await checkFolder(folder);
  const index = await readModelIndex(folder);
  checkIndex(folder, index, { unet, vqvae, scheduler });
  const variants = await chooseVariants(folder, { unet, vqvae }, variant);
  // The scheduler first: it is the cheapest to fail.
  const ownScheduler = scheduler ?? (await loadScheduler(index.scheduler ?? "", join(folder, "scheduler")));
  const ownUnet =
    unet ?? (await UNet2DModel.fromPretrained(join(folder, "unet"), { ...execution, signal, variant: variants.unet }));
  try {
    const ownVqvae =
      vqvae ?? (await VQModel.fromPretrained(join(folder, "vqvae"), { ...execution, signal, variant: variants.vqvae }));
    return { vqvae: ownVqvae, unet: ownUnet, scheduler: ownScheduler };
  } catch (error) {
    if (!unet) ownUnet.dispose();
    throw error;
  }
}

async function checkFolder(folder: string): Promise<void> {
  const found = await stat(checkString(folder, "folder")).catch(() => undefined);
  if (found?.isDirectory()) return;
  const isHubName = /^[\w.-]+\/[\w.-]+$/.test(folder);
  const why = found
    ? "it is a file; name the folder that holds model_index.json"
    : isHubName
      ? "there is no such folder, and models are not downloaded from the Hugging Face hub here: download it first (hf download <repository> --local-dir <folder>)"
      : "there is no such folder";
  throw new LatentDiffusionError(
    "ERR_CHECKPOINT_NOT_FOUND",
    `Expected a checkpoint folder but received ${JSON.stringify(folder)}: ${why}`,
  );
}

/** Check that the folder has every component that the caller does not bring, of a class that is known here. */
function checkIndex(folder: string, index: ModelIndex, brought: Readonly<Record<ComponentName, unknown>>): void {
  for (const name of COMPONENT_NAMES) {
    if (brought[name] !== undefined) continue;
    if (index[name] === null)
      throw new InvalidArgumentError(`${folder} has no ${name}: pass one as the option ${JSON.stringify(name)}`);
    if (name !== "scheduler" && index[name] !== NETWORK_CLASSES[name]) {
      throw new LatentDiffusionError(
        "ERR_CONFIG_UNSUPPORTED",
        `Expected "${NETWORK_CLASSES[name]}" for the ${name} of ${folder} but received ${JSON.stringify(index[name])}`,
      );
    }
  }
}

/** The variant of each network: the one asked for where the network has it; one of them must. */
async function chooseVariants(
  folder: string,
  brought: Readonly<Record<"unet" | "vqvae", unknown>>,
  variant: string | undefined,
): Promise<{ unet?: string; vqvae?: string }> {
  if (variant === undefined) return {};
  checkString(variant, "variant");
  const has = async (name: "unet" | "vqvae"): Promise<boolean> =>
    brought[name] === undefined && hasVariant(join(folder, name), variant);
  const [unet, vqvae] = [await has("unet"), await has("vqvae")];
  if (!unet && !vqvae) {
    throw new LatentDiffusionError(
      "ERR_CHECKPOINT_NOT_FOUND",
      `No network of ${folder} has weights of the variant ${JSON.stringify(variant)}`,
    );
  }
  return { unet: unet ? variant : undefined, vqvae: vqvae ? variant : undefined };
}
