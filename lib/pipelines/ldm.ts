import { inspect } from "node:util";
import type { FloatingDType } from "../torch/device.js";
import { LatentDiffusionError, throwIfAborted } from "../errors.js";
import { EXECUTION_OPTIONS, type ExecutionTarget, executionOf } from "../torch/execution.js";
import type { Device } from "../native/contract.js";
import { anchorError, captureCaller } from "../native/calls.js";
import { COMPONENT_NAMES, type PipelineConfig, pipelineConfig } from "../checkpoint/model-index.js";
import type { SaveWeightsOptions } from "../checkpoint/weights.js";
import { HUB_OPTIONS, type HubOptions, splitHubOptions } from "../hub/options.js";
import { checkRepositoryId } from "../hub/repository.js";
import type { PushedCommit } from "../hub/upload.js";
import { checkOptions, checkSignal, checkString, unexpected } from "../validate.js";
import {
  checkComponents,
  checkScalingFactor,
  checkUsable,
  holdComponents,
  type LDMComponents,
  moveComponents,
  releaseComponents,
} from "./shared/components.js";
import { ImagePipelineOutput, type OutputType } from "./shared/decode.js";
import { type EventStream, eventStream, runEvents } from "./shared/events.js";
import {
  type DiffusersComponents,
  downloadPipeline,
  loadComponents,
  type LoadOptions,
} from "./shared/load-components.js";
import { type GenerateOptions, planRun, type RunPlan, type StreamOptions } from "./shared/options.js";
import { pushPipeline, type PushOptions, savePipeline } from "./shared/save.js";
import { loadTorchScript, type TorchScriptComponents, type TorchScriptOptions } from "./shared/torchscript.js";

/** Options of {@link LDMPipeline.fromPretrained}. */
export interface PipelineLoadOptions extends LoadOptions {
  /** What latents are divided by before decoding, whatever the checkpoint says; saved with the pipeline. */
  scalingFactor?: number;
}

/** Options of {@link LDMPipeline.download}. */
export interface DownloadOptions extends HubOptions {
  /** Weights of a variant, `"fp16"`, of each network that has it. */
  variant?: string;
}

/** What a pipeline is made of; `scalingFactor` where it was given instead of the vqvae's. */
export type PipelineComponents<Components extends LDMComponents> = Readonly<
  Components & { readonly scalingFactor?: number }
>;

/**
 * Generate images by denoising random latents and decoding them. Unconditional: the training pictures alone say what is drawn.
 * @see https://arxiv.org/abs/2112.10752, diffusers.LDMPipeline
 */
export class LDMPipeline<Components extends LDMComponents = DiffusersComponents> {
  #components: PipelineComponents<Components>;
  #disposed = false;

  /**
   * Put a pipeline together.
   * @param components `vqvae`, `unet` and `scheduler`; `scalingFactor` instead of the vqvae's `scaling_factor`
   * @throws InvalidArgumentError; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` where the components do not fit each other, `ERR_DISPOSED`
   */
  constructor(components: Components & { readonly scalingFactor?: number }) {
    checkOptions(components, [...COMPONENT_NAMES, "scalingFactor"], "LDMPipeline");
    const { vqvae, unet, scheduler, scalingFactor } = components ?? {};
    checkComponents({ vqvae, unet, scheduler });
    if (scalingFactor !== undefined) checkScalingFactor(scalingFactor);
    const override =
      scalingFactor === undefined || scalingFactor === vqvae.config.scaling_factor ? {} : { scalingFactor };
    this.#components = Object.freeze({
      vqvae,
      unet,
      scheduler,
      ...override,
    }) as unknown as PipelineComponents<Components>;
    holdComponents(this.#components);
  }

  /**
   * Load a pipeline in diffusers' layout: `model_index.json`, `unet/`, `vqvae/`, `scheduler/`.
   * @param source a folder, a `file:` URL, or a repository on the Hugging Face hub, `"owner/name"`; a folder of that name comes first
   * @param options `device`, `dtype` (default `"float32"`), `optimize` (default true; false: bit for bit what PyTorch computes), `variant`;
   *   `unet`, `vqvae`, `scheduler` to take instead; `scalingFactor` where the checkpoint's is wrong; `signal`; of the hub: `revision`, `token`,
   *   `cacheDir`, `localFilesOnly`, `forceDownload`, `endpoint`, `onProgress`
   * @throws InvalidArgumentError; AbortError; LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND`, `ERR_CHECKPOINT_INVALID`,
   *   `ERR_CONFIG_UNSUPPORTED`, `ERR_DEVICE_UNAVAILABLE`, `ERR_OUT_OF_MEMORY`; `ERR_HUB_NOT_FOUND`, `ERR_HUB_ACCESS_DENIED`,
   *   `ERR_HUB_UNAVAILABLE`, `ERR_HUB_OFFLINE`, `ERR_DOWNLOAD_FAILED`, `ERR_IO`
   * @see diffusers.DiffusionPipeline.from_pretrained
   * @example
   * const pipe = await LDMPipeline.fromPretrained("models/demo", { dtype: "bfloat16" });
   */
  static async fromPretrained(source: string | URL, options?: PipelineLoadOptions): Promise<LDMPipeline> {
    const known = [...EXECUTION_OPTIONS, "scalingFactor", ...COMPONENT_NAMES, "variant", ...HUB_OPTIONS];
    const { scalingFactor, ...loading } = checkOptions(options, known, "LDMPipeline.fromPretrained");
    if (scalingFactor !== undefined) checkScalingFactor(scalingFactor);
    const components = await loadComponents(source, loading);
    return assemble(components, { scalingFactor, brought: [loading.unet, loading.vqvae] });
  }

  /**
   * Download what {@link fromPretrained} needs, into the cache that Python shares; what is there is not downloaded again.
   * @param id a repository on the Hugging Face hub, `"owner/name"`
   * @param options `variant`, and those of the hub
   * @returns the folder
   * @throws as {@link fromPretrained}
   * @see diffusers.DiffusionPipeline.download
   * @example
   * const folder = await LDMPipeline.download("CompVis/ldm-celebahq-256", { onProgress: ({ bytesDone, bytes }) => show(bytesDone / bytes) });
   */
  static async download(id: string, options?: DownloadOptions): Promise<string> {
    const known = ["variant", ...HUB_OPTIONS];
    const [hub, { variant }] = splitHubOptions(checkOptions(options, known, "LDMPipeline.download"));
    throwIfAborted(checkSignal(hub.signal, "signal"));
    return downloadPipeline(checkRepositoryId(id, "id"), hub, variant);
  }

  /**
   * Run networks that were exported to TorchScript, by `models/export_torchscript.py` or alike.
   * **Loading TorchScript runs code of the files**: load only what you trust, and say so with `trusted: true`.
   * @throws InvalidArgumentError; LatentDiffusionError `ERR_TORCHSCRIPT_UNTRUSTED`, `ERR_TORCHSCRIPT_INVALID`, `ERR_CHECKPOINT_NOT_FOUND`,
   *   `ERR_CONFIG_UNSUPPORTED` where a trace has another device or dtype baked in
   */
  static async fromTorchScript(options: TorchScriptOptions): Promise<LDMPipeline<TorchScriptComponents>> {
    const components = await loadTorchScript(options);
    return assemble(components, { brought: [options.unet, options.vqDecoder] });
  }

  /**
   * All that another pipeline of the same components is made of: `new LDMPipeline(pipe.components)`. What is shared moves together, and is freed
   * with its last pipeline.
   */
  get components(): PipelineComponents<Components> {
    return this.#components;
  }

  /** The class of each component, as `model_index.json` says it; frozen. */
  get config(): PipelineConfig {
    const { vqvae, unet, scheduler } = this.#components;
    return pipelineConfig({
      vqvae: vqvae.className ?? null,
      unet: unet.className ?? null,
      scheduler: scheduler.className,
    });
  }

  /** What latents are divided by before they are decoded. */
  get scalingFactor(): number {
    const { vqvae, scalingFactor } = this.#components;
    return scalingFactor ?? vqvae.config.scaling_factor;
  }

  get unet(): Components["unet"] {
    return this.components.unet;
  }

  get vqvae(): Components["vqvae"] {
    return this.components.vqvae;
  }

  get scheduler(): Components["scheduler"] {
    return this.components.scheduler;
  }

  /** Take another scheduler, for the runs that begin from now on. @throws InvalidArgumentError for something else */
  set scheduler(scheduler: Components["scheduler"]) {
    if (scheduler === undefined) throw unexpected("a scheduler", "scheduler", scheduler);
    checkUsable({ scheduler });
    this.#components = Object.freeze({ ...this.#components, scheduler });
  }

  /** Where the UNet runs. */
  get device(): Device {
    return this.components.unet.device;
  }

  /** What the UNet computes in. */
  get dtype(): FloatingDType {
    return this.components.unet.dtype;
  }

  /** Whether {@link dispose} was called. */
  get disposed(): boolean {
    return this.#disposed;
  }

  /**
   * Generate images.
   * @param options of which the result's type follows `outputType`
   * @returns the images; also by `const [images] = await pipe.generate()`
   * @throws InvalidArgumentError before any work; AbortError; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a schedule that cannot be run,
   *   `ERR_OUT_OF_MEMORY` before any work for a run that is larger than the memory that is left, `ERR_QUEUE_FULL` before the first step, `ERR_NON_FINITE_OUTPUT`, `ERR_DISPOSED`; what `onProgress` throws
   * @see diffusers.LDMPipeline.__call__
   * @example
   * const { images } = await pipe.generate({ batchSize: 4, numInferenceSteps: 50, seed: 0 });
   * for (const [i, image] of images.entries()) await image.save(`face-${i}.png`);
   */
  async generate<Type extends OutputType = "image">(
    options?: GenerateOptions<Type>,
  ): Promise<ImagePipelineOutput<Type>> {
    const site = captureCaller(this.generate);
    const plan = this.#plan(options, "generate", site);
    for await (const { images, step, steps, timestep } of runEvents(this.components, plan, site)) {
      if (images !== undefined) return new ImagePipelineOutput<Type>(images);
      await plan.onProgress?.({ step, steps, timestep });
    }
    throw new LatentDiffusionError("ERR_INTERNAL", "A run ended without images");
  }

  /**
   * Generate images, step by step: one event after each step, and a last one with the images. Each step is done when it is asked for;
   * leaving the loop stops the work.
   * @throws what {@link generate} does, wrong options at once, the rest from the loop
   * @example
   * for await (const { step, steps, preview, images } of pipe.stream({ previewEvery: 10 })) {
   *   if (images) await images[0]?.save("face.png");
   *   else console.log(`${step} of ${steps}`, preview?.[0]);
   * }
   */
  stream<Type extends OutputType = "image">(options?: StreamOptions<Type>): EventStream<Type> {
    const site = captureCaller(this.stream);
    const plan = this.#plan<Type>(options, "stream", site);
    return eventStream(runEvents(this.components, plan, site), () => plan.controller.abort());
  }

  /**
   * Move to a device, a dtype, or both, in place; both networks or, on failure, neither. A run in progress goes on at the new place.
   * @param targets `"cuda"`, `"bfloat16"`, in either order, or `{ device, dtype, optimize, signal }`; an abort ends the wait at once
   *   and leaves the pipeline where it was
   * @throws AbortError; LatentDiffusionError `ERR_DEVICE_UNAVAILABLE`, `ERR_OUT_OF_MEMORY`, `ERR_CONFIG_UNSUPPORTED` for a trace,
   *   `ERR_DISPOSED`
   * @see diffusers.DiffusionPipeline.to
   * @example
   * await pipe.to("bfloat16");
   */
  async to(...targets: readonly ExecutionTarget[]): Promise<this> {
    const { execution, signal } = executionOf(targets);
    await moveComponents(this.components, execution, () => this.#checkAlive(), signal);
    return this;
  }

  /**
   * Save in diffusers' layout; `LDMPipeline.from_pretrained` in Python reads it.
   * @param folder is made if it does not exist
   * @param options of the weights: `dtype`, `maxShardSize` in bytes, `variant`; `signal`: read before each file of weights, and a folder
   *   that was saved in part has no `model_index.json`
   * @throws AbortError; LatentDiffusionError `ERR_IO`, `ERR_DISPOSED`; `ERR_CONFIG_UNSUPPORTED` for TorchScript modules, which diffusers cannot read
   * @see diffusers.DiffusionPipeline.save_pretrained
   * @example
   * await pipe.savePretrained("my-model", { dtype: "bfloat16", variant: "bf16" });
   */
  async savePretrained(folder: string, options?: SaveWeightsOptions): Promise<void> {
    checkString(folder, "folder");
    this.#checkAlive();
    await savePipeline(folder, this, options);
  }

  /**
   * Save the pipeline to a repository on the Hugging Face hub, in one commit; a repository that does not exist is made.
   * @param id `"owner/name"`
   * @param options `token` that may write, default the environment's; `private`, for a repository that is made; `commitMessage`; `revision`,
   *   `endpoint`, `signal`; of the weights `dtype`, `maxShardSize`, `variant`
   * @returns the commit's hash and page
   * @throws InvalidArgumentError; AbortError; LatentDiffusionError `ERR_HUB_ACCESS_DENIED`, `ERR_HUB_NOT_FOUND`, `ERR_HUB_UNAVAILABLE`, and as
   *   {@link savePretrained}, whose files go to the system's temporary folder first
   * @see diffusers.utils.PushToHubMixin.push_to_hub
   * @example
   * await pipe.pushToHub("me/faces", { private: true });
   */
  async pushToHub(id: string, options?: PushOptions): Promise<PushedCommit> {
    return pushPipeline(id, options, (folder, weights) => this.savePretrained(folder, weights));
  }

  /** End the pipeline, runs in progress included, and free the networks that no other pipeline holds; a second call does nothing. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    releaseComponents(this.components);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  [inspect.custom](): string {
    const { unet, scheduler } = this.components;
    return this.#disposed || unet.disposed
      ? "LDMPipeline(disposed)"
      : `LDMPipeline(${this.dtype}, ${this.device}, ${scheduler.className})`;
  }

  #plan<Type extends OutputType>(
    options: GenerateOptions<Type> | StreamOptions<Type> | undefined,
    method: "generate" | "stream",
    site: { stack?: string },
  ): RunPlan<Type> {
    try {
      this.#checkAlive();
      return planRun<Type>(this.components, options, method, {
        scalingFactor: this.scalingFactor,
        checkAlive: () => this.#checkAlive(),
      });
    } catch (error) {
      throw anchorError(error, site);
    }
  }

  #checkAlive(): void {
    const { unet, vqvae } = this.components;
    if (this.#disposed) throw new LatentDiffusionError("ERR_DISPOSED", "This pipeline was disposed");
    for (const [name, component] of [
      ["unet", unet],
      ["vqvae", vqvae],
    ] as const) {
      if (component.disposed)
        throw new LatentDiffusionError("ERR_DISPOSED", `The ${name} of this pipeline was disposed`);
    }
  }
}

/** Make a pipeline of components that were just loaded; if they do not fit, free those that the caller did not bring. */
function assemble<Components extends LDMComponents>(
  components: Components,
  { scalingFactor, brought }: { scalingFactor?: number; brought: readonly unknown[] },
): LDMPipeline<Components> {
  try {
    return new LDMPipeline<Components>({ ...components, scalingFactor });
  } catch (error) {
    if (typeof brought[0] !== "object") components.unet.dispose();
    if (typeof brought[1] !== "object") components.vqvae.dispose();
    throw error;
  }
}
