import { abortableResource, InvalidArgumentError, LatentDiffusionError } from "../../errors.js";
import type { FloatingDType } from "../../torch/device.js";
import type { Device } from "../../native/contract.js";
import type { SampleSizes } from "../../models/unet-2d/network.js";
import { COMPONENT_NAMES } from "../../checkpoint/model-index.js";
import type { SaveWeightsOptions } from "../../checkpoint/weights.js";
import type { Scheduler } from "../../schedulers/contract.js";
import type { ExecutionOptions, StagedExecution } from "../../torch/execution.js";
import type { Tensor } from "../../torch/tensor.js";
import { hasMethods, unexpected } from "../../validate.js";

/** What a pipeline needs of both its networks. */
export interface NetworkComponent {
  /** diffusers' name of the class; absent where diffusers has none. */
  readonly className?: string;
  readonly device: Device;
  readonly dtype: FloatingDType;
  readonly optimize: boolean;
  readonly disposed: boolean;
  stage(options: ExecutionOptions): Promise<StagedExecution>;
  dispose(): void;
  /** Absent where there is nothing that diffusers could read. */
  savePretrained?(folder: string, options?: SaveWeightsOptions): Promise<void>;
}

/** The network that denoises latents; a `UNet2DModel` is one. */
export interface DenoisingNetwork extends NetworkComponent {
  readonly config: {
    readonly in_channels: number;
    readonly out_channels: number;
    /** Height and width of the latents; null: each call says. */
    readonly sample_size: number | readonly number[] | null;
    readonly class_embed_type?: string | null;
    readonly num_class_embeds?: number | null;
    readonly time_embedding_type?: string;
    readonly num_train_timesteps?: number | null;
    readonly block_out_channels?: readonly number[];
    readonly layers_per_block?: number;
  };
  /** What height and width of the latents must be: a multiple of one number, and no less than another; absent: as its levels ask. */
  readonly sampleSizes?: SampleSizes;
  forward(sample: Tensor, timestep: number, options?: { signal?: AbortSignal }): Promise<{ readonly sample: Tensor }>;
  /** How many branches {@link forwardCached} can keep features at; 0 or absent: it cannot. */
  readonly cacheBranches?: number;
  forwardCached?(
    sample: Tensor,
    timestep: number,
    options?: { branch?: number; features?: Tensor; signal?: AbortSignal },
  ): Promise<{ readonly sample: Tensor; readonly features: Tensor }>;
}

/** The network that makes pictures from latents; a `VQModel` is one. */
export interface LatentDecoder extends NetworkComponent {
  readonly config: {
    readonly latent_channels: number;
    readonly vq_embed_dim?: number | null;
    readonly out_channels: number;
    /** What latents are divided by before they are decoded. */
    readonly scaling_factor: number;
    readonly block_out_channels?: readonly number[];
    readonly up_block_types?: readonly string[];
    /** Instead of the blocks: how many pixels one latent pixel becomes, in each direction. */
    readonly vae_scale_factor?: number;
  };
  decode(latents: Tensor, options?: { signal?: AbortSignal }): Promise<{ readonly sample: Tensor }>;
}

/** What an {@link LDMPipeline} is made of. */
export interface LDMComponents {
  readonly vqvae: LatentDecoder;
  readonly unet: DenoisingNetwork;
  readonly scheduler: Scheduler;
}

/** Check that each component that is given is one, and usable. @throws InvalidArgumentError; LatentDiffusionError `ERR_DISPOSED` */
export function checkUsable({ vqvae, unet, scheduler }: Partial<LDMComponents>): void {
  if (unet !== undefined && !hasMethods(unet, "forward", "stage")) throw unexpected("a UNet2DModel", "unet", unet);
  if (vqvae !== undefined && !hasMethods(vqvae, "decode", "stage")) throw unexpected("a VQModel", "vqvae", vqvae);
  if (scheduler !== undefined && !hasMethods(scheduler, "step", "clone"))
    throw unexpected("a scheduler", "scheduler", scheduler);
  for (const [name, component] of [
    ["unet", unet],
    ["vqvae", vqvae],
  ] as const) {
    if (component?.disposed) throw new LatentDiffusionError("ERR_DISPOSED", `The ${name} was disposed`);
  }
}

/**
 * Check that a pipeline has all its components, and that they fit each other.
 * @throws InvalidArgumentError for something else; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming the key that does not fit
 */
export function checkComponents(components: LDMComponents): void {
  const missing = COMPONENT_NAMES.find((name) => components[name] === undefined);
  if (missing) throw unexpected(`a ${missing === "scheduler" ? missing : "network"}`, missing, undefined);
  checkUsable(components);
  const { unet, vqvae } = components;
  const { in_channels: channels, out_channels: predicted, class_embed_type, num_class_embeds } = unet.config;
  if ((class_embed_type ?? null) !== null || (num_class_embeds ?? null) !== null) {
    throw misfit(
      "the unet has a class embedding (class_embed_type, num_class_embeds), and this pipeline is unconditional",
    );
  }
  if (predicted !== channels && predicted !== 2 * channels) {
    throw misfit(
      `Expected ${channels} (in_channels), or ${2 * channels} with a learned variance, for out_channels of the unet but received ${predicted}`,
    );
  }
  const latents = vqvae.config.vq_embed_dim ?? vqvae.config.latent_channels;
  if (latents !== channels) {
    throw misfit(
      `Expected ${latents}, the channels of the vqvae's latents, for in_channels of the unet but received ${channels}`,
    );
  }
}

/** How many pixels one latent pixel becomes, in each direction; undefined where the decoder does not say. */
export function decoderScale({
  config: { block_out_channels: channels, up_block_types: blocks, vae_scale_factor },
}: LatentDecoder): number | undefined {
  // Every up block doubles the size but the one that would be the last of all levels.
  return channels && blocks ? 2 ** Math.min(blocks.length, channels.length - 1) : vae_scale_factor;
}

/** What height and width of the latents must be, so that the UNet's levels meet again on the way up. */
export function latentSizes({ sampleSizes, config: { block_out_channels: channels } }: DenoisingNetwork): SampleSizes {
  const multiple = channels ? 2 ** (channels.length - 1) : 1;
  return sampleSizes ?? { multiple, least: multiple };
}

/**
 * Check that the network can be called at every timestep of a schedule.
 * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED`
 */
export function checkTimesteps({ config }: DenoisingNetwork, timesteps: readonly number[]): void {
  if (config.time_embedding_type === "fourier" && timesteps.includes(0)) {
    throw misfit(
      'the unet has time_embedding_type "fourier", which takes the logarithm of the timestep, and this schedule visits timestep 0; ' +
        "take steps_offset 1 or another timestep_spacing",
    );
  }
  const known = config.time_embedding_type === "learned" ? (config.num_train_timesteps ?? Infinity) : Infinity;
  const beyond = timesteps.find((timestep) => timestep >= known);
  if (beyond !== undefined)
    throw misfit(`the unet has learned embeddings for ${known} timesteps, and this schedule visits timestep ${beyond}`);
}

function misfit(what: string): LatentDiffusionError {
  return new LatentDiffusionError("ERR_CONFIG_UNSUPPORTED", what);
}

/** Check a factor that latents are divided by. */
export function checkScalingFactor(value: unknown): number {
  if (typeof value === "number" && Number.isFinite(value) && value !== 0) return value;
  throw value === 0
    ? new InvalidArgumentError("Expected a number other than 0 for scalingFactor")
    : unexpected("a finite number", "scalingFactor", value);
}

/**
 * Move both networks or neither: each is made ready at its new place before the first is switched over. Both take their places in
 * the queues of moves at once, so that pipelines that share components cannot wait for each other in a circle.
 * @param signal ends the wait at once; what is made ready later is discarded
 * @param checkAlive called before the switch; what it throws leaves everything as it was
 */
export async function moveComponents(
  { unet, vqvae }: LDMComponents,
  options: ExecutionOptions,
  checkAlive: () => void,
  signal?: AbortSignal,
): Promise<void> {
  checkAlive();
  const results = await Promise.allSettled(
    [unet, vqvae].map((component) => abortableResource(component.stage(options), signal, (late) => late.discard())),
  );
  const staged = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  try {
    for (const result of results) if (result.status === "rejected") throw result.reason;
    checkAlive();
  } catch (error) {
    for (const execution of staged) execution.discard();
    throw error;
  }
  for (const execution of staged) execution.commit();
}

interface Disposable {
  dispose(): void;
}

/** How many pipelines that are not disposed hold each network. */
const holders = new WeakMap<Disposable, number>();

/** Note that one pipeline more holds these components. */
export function holdComponents({ unet, vqvae }: LDMComponents): void {
  for (const component of [unet, vqvae]) holders.set(component, (holders.get(component) ?? 0) + 1);
}

/** Note that one pipeline less holds these components, and free those that none holds any more. */
export function releaseComponents({ unet, vqvae }: LDMComponents): void {
  for (const component of [unet, vqvae]) {
    const left = (holders.get(component) ?? 1) - 1;
    holders.set(component, left);
    if (left === 0) component.dispose();
  }
}
