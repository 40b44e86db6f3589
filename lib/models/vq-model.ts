import { LatentDiffusionError } from "../errors.js";
import type { JsonObject } from "../pretrained/json.js";
import { Tensor } from "../tensor.js";
import { checkBoolean, checkOptions } from "../validate.js";
import {
  checkFeatures, checkTensor, formatShape, type FromConfigOptions, type FromPretrainedOptions, initializeNetwork, loadNetwork, mismatch,
  NetworkModel, type NetworkParts, type Written,
} from "./network-model.js";
import { completeVQConfig, type VQConfig, type VQConfigKeys } from "./vq-config.js";
import { type VQNetwork, vqNetwork } from "./vq-network.js";

export interface VQEncoderOutput {
  /** `[batch, vq_embed_dim, height / 2^n, width / 2^n]`, not quantised. */
  readonly latents: Tensor;
}

export interface DecoderOutput {
  /** `[batch, out_channels, height, width]`. */
  readonly sample: Tensor;
}

export interface VQDecodeOptions {
  /** Decode the latents as they are; with `lookup_from_codebook`: take `z` for codes. Default false. */
  forceNotQuantize?: boolean;
  /** Read between the stages of decoding. */
  signal?: AbortSignal;
}

/**
 * The autoencoder with a codebook, which makes latents from pictures and pictures from latents.
 * @see diffusers.VQModel
 */
export class VQModel extends NetworkModel<VQConfig> {
  readonly #network: VQNetwork;

  private constructor(parts: NetworkParts<VQConfig, VQNetwork>) {
    super(parts);
    this.#network = parts.network;
  }

  /**
   * Make a network with random weights, initialised as PyTorch and diffusers do.
   * @param config keys of diffusers' config.json; what is left out has diffusers' default
   * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming key and value; InvalidArgumentError for an unknown key or option
   */
  static async fromConfig(config: Partial<VQConfigKeys> | JsonObject, options?: FromConfigOptions): Promise<VQModel> {
    return new VQModel(await initializeNetwork("VQModel", options, () => write(config)));
  }

  /**
   * Load a folder in diffusers' layout: `config.json` and safetensors, in one file or in shards. Where the file has no
   * `scaling_factor`, `config.scaling_factor` is 1.
   * @param options `subfolder`, `variant`; `device`, `dtype` (default `"float32"`, whatever the file holds), `optimize`
   * @throws LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND`, `ERR_CHECKPOINT_INVALID` listing every tensor that does not fit,
   *   `ERR_CONFIG_UNSUPPORTED`, `ERR_DEVICE_UNAVAILABLE`, `ERR_OUT_OF_MEMORY`
   */
  static async fromPretrained(folder: string, options?: FromPretrainedOptions): Promise<VQModel> {
    return new VQModel(await loadNetwork("VQModel", folder, options, write));
  }

  /**
   * Make latents from pictures.
   * @param x `[batch, in_channels, height, width]` in [-1, 1], in the model's dtype, on its device
   * @returns `latents`, not quantised: decode does that
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT`; AbortError; LatentDiffusionError `ERR_OUT_OF_MEMORY`, `ERR_DISPOSED`
   */
  async encode(x: Tensor, options?: { signal?: AbortSignal }): Promise<VQEncoderOutput> {
    const { signal } = checkOptions(options, ["signal"], "VQModel.encode");
    this.#checkPicture(x);
    return { latents: await this.#call("encode", [x], signal) };
  }

  /**
   * Make pictures from latents: quantise them, then decode in a few stages, so that an abort takes effect between them.
   * @param z `[batch, vq_embed_dim, height, width]`, already divided by `scaling_factor`; with `lookup_from_codebook` and
   *   `forceNotQuantize`: int64 codes `[batch, height, width]`
   * @returns `sample` in about [-1, 1]
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT`; AbortError; LatentDiffusionError `ERR_OUT_OF_MEMORY`, `ERR_DISPOSED`
   */
  async decode(z: Tensor, options?: VQDecodeOptions): Promise<DecoderOutput> {
    const { forceNotQuantize = false, signal } = checkOptions(options, ["forceNotQuantize", "signal"], "VQModel.decode");
    const codes = checkBoolean(forceNotQuantize, "forceNotQuantize") && this.config.lookup_from_codebook;
    if (codes) this.#checkCodes(z);
    else checkFeatures(z, "z", this.#network.embedDim, this);
    const latents = codes ? await this.#call("lookup_codes", [z], signal) : forceNotQuantize ? z : await this.#call("quantize_latents", [z], signal);
    try {
      return { sample: await this.#decodeStages(latents, signal) };
    } finally {
      if (latents !== z) latents.dispose();
    }
  }

  /**
   * Encode and decode.
   * @param sample `[batch, in_channels, height, width]` in [-1, 1]
   * @throws as {@link encode} and {@link decode}
   */
  async forward(sample: Tensor, options?: { signal?: AbortSignal }): Promise<DecoderOutput> {
    const { signal } = checkOptions(options, ["signal"], "VQModel.forward");
    const { latents } = await this.encode(sample, { signal });
    try {
      return await this.decode(latents, { signal });
    } finally {
      latents.dispose();
    }
  }

  async #decodeStages(latents: Tensor, signal: AbortSignal | undefined): Promise<Tensor> {
    let x: Tensor | undefined;
    let given = latents;
    try {
      for (const stage of this.#network.decodeStages) {
        const before = x && await this.#place(x);
        x = before;
        if (given !== latents) given.dispose();
        given = await this.#place(latents, false);
        x = await this.#call(stage, before ? [before, given] : [given], signal);
        before?.dispose();
      }
    } catch (error) {
      x?.dispose();
      throw error;
    } finally {
      if (given !== latents) given.dispose();
    }
    if (!x) throw new LatentDiffusionError("ERR_INTERNAL", "The decoder has no stages");
    return x;
  }

  /** Bring features to where the model is now: it may be moved between two stages. */
  async #place(x: Tensor, owned = true): Promise<Tensor> {
    if (x.device === this.device && x.dtype === this.dtype) return x;
    const moved = await x.to(this.device, this.dtype);
    if (owned && moved !== x) x.dispose();
    return this.#place(moved);
  }

  async #call(method: string, args: readonly Tensor[], signal: AbortSignal | undefined): Promise<Tensor> {
    const result = await this.module.call(method, args, { signal });
    if (result instanceof Tensor) return result;
    throw new LatentDiffusionError("ERR_INTERNAL", `${method} did not return one tensor`);
  }

  #checkPicture(x: Tensor): void {
    const [, , height = 0, width = 0] = checkFeatures(x, "x", this.config.in_channels, this).shape;
    const least = 2 ** this.#network.halvings;
    for (const [name, size] of [["height", height], ["width", width]] as const) {
      if (size < least) throw mismatch(`at least ${least}`, `the ${name} of x`, String(size));
    }
  }

  #checkCodes(codes: Tensor): void {
    const { shape, dtype } = checkTensor(codes, "z", this.device);
    if (shape.length !== 3 || (dtype !== "int64" && dtype !== "int32")) {
      throw mismatch("int64 codes of shape [batch, height, width], for lookup_from_codebook,", "z", `${dtype} ${formatShape(shape)}`);
    }
  }
}

function write(config: Partial<VQConfigKeys> | JsonObject): Written<VQConfig, VQNetwork> {
  const complete = completeVQConfig(config);
  return { config: complete, network: vqNetwork(complete) };
}
