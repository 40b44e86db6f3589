import { dirname, join } from "node:path";
import { checkExecution } from "../../torch/device.js";
import { InvalidArgumentError, LatentDiffusionError, throwIfAborted } from "../../errors.js";
import { UNet2DModel } from "../../models/unet-2d/model.js";
import { VQModel } from "../../models/vq/model.js";
import {
  COMPONENT_NAMES,
  type ComponentName,
  INDEX_FILE,
  type ModelIndex,
  readModelIndex,
} from "../../checkpoint/model-index.js";
import { locateCheckpoint, namesIn, networkFiles } from "../../checkpoint/locate.js";
import { checkVariant, chooseWeights } from "../../checkpoint/weight-files.js";
import { hasVariant } from "../../checkpoint/weights.js";
import { checkHubOptions, type HubOptions, splitHubOptions } from "../../hub/options.js";
import { type Choice, snapshotWith } from "../../hub/snapshot.js";
import { SCHEDULER_FILE } from "../../schedulers/configured.js";
import { loadScheduler } from "../../schedulers/known.js";
import type { Scheduler } from "../../schedulers/contract.js";
import type { ExecutionOptions } from "../../torch/execution.js";
import { checkSignal } from "../../validate.js";
import { checkUsable } from "./components.js";

/** Components to take instead of the folder's, and how to load the others. */
export interface LoadOptions extends ExecutionOptions, HubOptions {
  unet?: UNet2DModel;
  vqvae?: VQModel;
  scheduler?: Scheduler;
  /** Weights of a variant, `"fp16"`, of each network that has it. */
  variant?: string;
  /** Ends the wait at once, with an AbortError; what was loaded is freed, what was downloaded is kept. */
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

/** Components that the caller brings, and the variant of the others' weights. */
interface Wanted extends Partial<DiffusersComponents> {
  readonly variant?: string;
}

/**
 * Load the components of a folder in diffusers' layout, or of a repository on the hub; nothing stays open if one fails.
 * @throws LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND`, `ERR_CHECKPOINT_INVALID`, `ERR_CONFIG_UNSUPPORTED`, `ERR_HUB_...` and what loading
 *   throws
 */
export async function loadComponents(source: string | URL, options: LoadOptions): Promise<DiffusersComponents> {
  const [hub, { unet, vqvae, scheduler, variant, ...execution }] = splitHubOptions(options);
  const { signal } = hub;
  // Also where all networks are brought, and nothing is left to load by them.
  checkExecution(execution);
  checkUsable({ unet, vqvae, scheduler });
  throwIfAborted(checkSignal(signal, "signal"));
  const folder = await locatePipeline(source, hub, { unet, vqvae, scheduler, variant });
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

/**
 * Find a pipeline's folder; from the hub, only the files that are needed come.
 * @param wanted a component that is brought is not downloaded
 * @throws as {@link loadComponents}
 */
async function locatePipeline(source: string | URL, hub: HubOptions, wanted: Wanted): Promise<string> {
  const { variant } = wanted;
  if (variant !== undefined) checkVariant(variant);
  return locateCheckpoint(source, hub, (choice) => pipelineFiles(choice, wanted));
}

/** Download a pipeline from the hub, also where a folder has its name. @returns the folder in the cache @throws as {@link loadComponents} */
export async function downloadPipeline(id: string, hub: HubOptions, variant: string | undefined): Promise<string> {
  if (variant !== undefined) checkVariant(variant);
  return snapshotWith(id, (choice) => pipelineFiles(choice, { variant }), checkHubOptions(hub));
}

/** Name the files that a pipeline needs: its index, then what that and the caller say. */
async function pipelineFiles(choice: Choice, { variant, ...brought }: Wanted): Promise<string[]> {
  const { unet, vqvae, scheduler } = brought;
  const folder = dirname(await choice.fetch(INDEX_FILE));
  // What cannot be loaded is not downloaded.
  checkIndex(folder, await readModelIndex(folder), { unet, vqvae, scheduler });
  const networks = (["unet", "vqvae"] as const).filter((name) => brought[name] === undefined);
  const hasVariant = (name: string): boolean => chooseWeights(namesIn(choice.names, `${name}/`), variant) !== undefined;
  const chosen = variantsOf(choice.id, networks, variant, new Set(networks.filter(hasVariant)));
  const files = await Promise.all(networks.map((name) => networkFiles(choice, name, chosen[name])));
  return [INDEX_FILE, ...(scheduler === undefined ? [`scheduler/${SCHEDULER_FILE}`] : []), ...files.flat()];
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

/** The variant of each network in a folder. */
async function chooseVariants(
  folder: string,
  brought: Readonly<Record<"unet" | "vqvae", unknown>>,
  variant: string | undefined,
): Promise<Variants> {
  if (variant === undefined) return {};
  const networks = (["unet", "vqvae"] as const).filter((name) => brought[name] === undefined);
  const found = await Promise.all(networks.map((name) => hasVariant(join(folder, name), variant)));
  return variantsOf(folder, networks, variant, new Set(networks.filter((_, i) => found[i])));
}

type Variants = Readonly<Partial<Record<"unet" | "vqvae", string>>>;

/** The variant that was asked for where a network has it; at least one must. */
function variantsOf(
  where: string,
  networks: readonly ("unet" | "vqvae")[],
  variant: string | undefined,
  having: ReadonlySet<string>,
): Variants {
  if (variant === undefined) return {};
  if (having.size === 0) {
    throw new LatentDiffusionError(
      "ERR_CHECKPOINT_NOT_FOUND",
      `No network of ${where} has weights of the variant ${JSON.stringify(variant)}`,
    );
  }
  return Object.fromEntries(networks.filter((name) => having.has(name)).map((name) => [name, variant]));
}
