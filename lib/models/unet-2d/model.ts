import { InvalidArgumentError, LatentDiffusionError } from "../../errors.js";
import { Tensor } from "../../torch/tensor.js";
import { checkInteger, checkOptions, unexpected } from "../../validate.js";
import { checkFeatures, checkTensor, formatShape, mismatch, type NetworkKind, NetworkModel } from "../network-model.js";
import { completeUNet2DConfig, UNET_2D_CLASS, type UNet2DConfig, type UNet2DConfigKeys } from "./config.js";
import type { CacheBranch } from "./cached-forward.js";
import { cacheBranchesOf, type SampleSizes, sampleSizesOf, timeEmbeddingSize, unet2dNetwork } from "./network.js";

/** What a UNet makes. */
export interface UNet2DOutput {
  /** `[batch, out_channels, height, width]` in the model's dtype. */
  readonly sample: Tensor;
}

export interface UNet2DForwardOptions {
  /** int64 `[batch]` or `[1]`; with `class_embed_type` `"identity"` floats `[batch, time embedding size]`. */
  classLabels?: Tensor;
  signal?: AbortSignal;
}

export interface UNet2DCachedOptions extends UNet2DForwardOptions {
  /** Where deep features are kept, from 0 (the outermost: only the last layer is computed again) to `cacheBranches - 1`; default 0. */
  branch?: number;
  /** What an earlier call with the same branch returned; default: none, so the whole network is computed. */
  features?: Tensor;
}

/** What a UNet makes, and the deep features that it kept. */
export interface UNet2DCachedOutput extends UNet2DOutput {
  /** `[batch, channels, height / 2^level, width / 2^level]`: what enters the up layer of the branch. The caller's to free. */
  readonly features: Tensor;
}

/**
 * The network that predicts the noise (or what the scheduler's `prediction_type` says) in latents.
 * @see diffusers.UNet2DModel
 */
export class UNet2DModel extends NetworkModel<UNet2DConfigKeys> {
  /** The class's name, keys and defaults. */
  static readonly kind: NetworkKind<UNet2DConfigKeys> = {
    ...UNET_2D_CLASS,
    write: (given) => {
      const config = completeUNet2DConfig(given);
      return { config, spec: unet2dNetwork(config) };
    },
  };

  readonly #branches = cacheBranchesOf(this.config);

  /** What heights and widths of a sample the network takes: multiples of 2^(levels - 1), and two of them with a reflecting border. */
  get sampleSizes(): SampleSizes {
    return sampleSizesOf(this.config);
  }

  /**
   * Run the network once.
   * @param sample `[batch, in_channels, height, width]` in the model's dtype, on its device; height and width are multiples of
   *   2^(levels - 1)
   * @param timestep a number, or a tensor `[]`, `[1]` or `[batch]`. A whole number is an int64, as in Python; a fraction is a
   *   float32, where Python would cut it off
   * @returns `sample` `[batch, out_channels, height, width]`
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT`; AbortError; LatentDiffusionError `ERR_OUT_OF_MEMORY`, `ERR_DISPOSED`
   * @example
   * const { sample } = await unet.forward(latents, timestep);
   */
  async forward(sample: Tensor, timestep: number | Tensor, options?: UNet2DForwardOptions): Promise<UNet2DOutput> {
    const { classLabels, signal } = checkOptions(options, ["classLabels", "signal"], "UNet2DModel.forward");
    return this.#withInputs({ sample, timestep, classLabels }, async (inputs) => {
      const result = await this.module.call("forward", inputs, { signal });
      if (!(result instanceof Tensor))
        throw new LatentDiffusionError("ERR_INTERNAL", "The network did not return one tensor");
      return { sample: result };
    });
  }

  /** How many branches {@link forwardCached} can keep features at; 0 where the config has other than the plain blocks. */
  get cacheBranches(): number {
    return this.#branches.length;
  }

  /**
   * Run the network once, and keep its deep features; or, with the `features` of an earlier call, compute only the outer layers around them.
   * Neighbouring steps of a run have nearly the same deep features.
   * @param sample, timestep as {@link forward}
   * @param options `branch`, `features`, `classLabels`, `signal`
   * @returns `sample` as {@link forward}, bit for bit the same without `features`; `features`, those that were given if any were
   * @throws what {@link forward} does; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for Skip and K blocks
   * @see Ma et al., "DeepCache: Accelerating Diffusion Models for Free", 2023, https://arxiv.org/abs/2312.00858
   */
  async forwardCached(
    sample: Tensor,
    timestep: number | Tensor,
    options?: UNet2DCachedOptions,
  ): Promise<UNet2DCachedOutput> {
    const known = ["branch", "features", "classLabels", "signal"];
    const { branch = 0, features, classLabels, signal } = checkOptions(options, known, "UNet2DModel.forwardCached");
    const branches = this.#branches;
    if (branches.length === 0) throw cannotCache(this.config);
    const place = branches[checkInteger(branch, "branch", 0, branches.length - 1)];
    return this.#withInputs({ sample, timestep, classLabels }, async (inputs) => {
      if (features !== undefined) this.#checkKept(features, sample, place);
      const given = [...inputs, features ?? sample, branch, features === undefined];
      const result = await this.module.call("forward_cached", given, { signal });
      const [output, kept] = Array.isArray(result) ? (result as readonly unknown[]) : [];
      if (!(output instanceof Tensor) || !(kept instanceof Tensor))
        throw new LatentDiffusionError("ERR_INTERNAL", "The network did not return two tensors");
      if (features === undefined) return { sample: output, features: kept };
      kept.dispose();
      return { sample: output, features };
    });
  }

  #checkKept(features: unknown, sample: Tensor, place: CacheBranch | undefined): void {
    const { level = 0, channels = 0 } = place ?? {};
    const tensor = checkFeatures(features, "features", channels, this);
    const [batch = 0, , height = 0, width = 0] = sample.shape;
    const expected = [batch, channels, height / 2 ** level, width / 2 ** level];
    if (formatShape(tensor.shape) !== formatShape(expected))
      throw mismatch(`a tensor of shape ${formatShape(expected)}`, "features", formatShape(tensor.shape));
  }

  /** Check what a forward takes, and free the timestep's tensor after it. */
  async #withInputs<Result>(
    { sample, timestep, classLabels }: { sample: Tensor; timestep: number | Tensor; classLabels: Tensor | undefined },
    run: (inputs: readonly Tensor[]) => Promise<Result>,
  ): Promise<Result> {
    checkFeatures(sample, "sample", this.config.in_channels, this);
    const [batch = 0, , height = 0, width = 0] = sample.shape;
    this.#checkSize(height, width);
    const labels = this.#checkLabels(classLabels, batch);
    const own = typeof timestep === "number" ? this.#timestepTensor(timestep) : null;
    const time = own ?? this.#checkTimestep(timestep, batch);
    try {
      return await run(labels ? [sample, time, labels] : [sample, time]);
    } finally {
      own?.dispose();
    }
  }

  #checkSize(height: number, width: number): void {
    const { multiple, least } = this.sampleSizes;
    for (const [name, size] of [
      ["height", height],
      ["width", width],
    ] as const) {
      if (size % multiple === 0 && size >= least) continue;
      const bound = least > multiple ? ` of at least ${least}` : "";
      throw mismatch(`a multiple of ${multiple}${bound}`, `the ${name} of sample`, String(size));
    }
  }

  #timestepTensor(timestep: number): Tensor {
    if (!Number.isFinite(timestep)) throw unexpected("a finite number or a Tensor", "timestep", timestep);
    if (!Number.isSafeInteger(timestep)) {
      if (this.config.time_embedding_type === "learned")
        throw unexpected('a whole number with time_embedding_type "learned"', "timestep", timestep);
      return Tensor.from(Float32Array.of(timestep));
    }
    const count = this.config.time_embedding_type === "learned" ? (this.config.num_train_timesteps ?? 0) : Infinity;
    if (count !== Infinity && (timestep < 0 || timestep >= count))
      throw unexpected(`a number from 0 to ${count - 1}`, "timestep", timestep);
    return Tensor.from(BigInt64Array.of(BigInt(timestep)));
  }

  #checkTimestep(timestep: number | Tensor, batch: number): Tensor {
    if (!(timestep instanceof Tensor)) throw unexpected("a number or a Tensor", "timestep", timestep);
    const { shape } = timestep;
    const fits = shape.length === 0 || (shape.length === 1 && (shape[0] === 1 || shape[0] === batch));
    if (!fits) throw mismatch(`a tensor of shape [], [1] or [${batch}]`, "timestep", formatShape(shape));
    if (timestep.dtype === "bool") throw mismatch("numbers", "timestep", "a bool tensor");
    if (this.config.time_embedding_type === "learned" && !timestep.dtype.startsWith("int")) {
      throw mismatch('integers with time_embedding_type "learned"', "timestep", `a ${timestep.dtype} tensor`);
    }
    return timestep;
  }

  #checkLabels(classLabels: unknown, batch: number): Tensor | null {
    const { class_embed_type, num_class_embeds } = this.config;
    if (class_embed_type === null && num_class_embeds === null) {
      if (classLabels !== undefined)
        throw new InvalidArgumentError("Expected no classLabels, since the config has no class embedding");
      return null;
    }
    if (classLabels === undefined)
      throw new InvalidArgumentError(
        "Expected a Tensor for classLabels but received undefined; the config has a class embedding",
      );
    const labels = checkTensor(classLabels, "classLabels", this.device);
    const { shape, dtype } = labels;
    const tail = class_embed_type === "identity" ? [timeEmbeddingSize(this.config)] : [];
    const [first, ...rest] = shape;
    if ((first !== batch && first !== 1) || formatShape(rest) !== formatShape(tail)) {
      throw mismatch(`a tensor of shape ${formatShape([batch, ...tail])}`, "classLabels", formatShape(shape));
    }
    const indices =
      class_embed_type === null || (class_embed_type === "timestep" && this.config.time_embedding_type === "learned");
    if (indices && dtype !== "int64" && dtype !== "int32") throw mismatch("an int64 tensor", "classLabels", dtype);
    return labels;
  }
}

function cannotCache({ down_block_types, up_block_types }: UNet2DConfig): LatentDiffusionError {
  const others = [...new Set([...down_block_types, ...up_block_types])].filter((name) => /Skip|^K/.test(name));
  return new LatentDiffusionError(
    "ERR_CONFIG_UNSUPPORTED",
    `Deep features can be kept between plain blocks only; this network has ${others.join(", ") || "residuals that no up block takes"}`,
  );
}
