import { LatentDiffusionError } from "../../errors.js";
import { op, Tensor } from "../../torch/tensor.js";
import { runAt } from "../../torch/transient.js";
import { checkBoolean, checkOptions } from "../../validate.js";
import { checkFeatures, checkTensor, formatShape, mismatch, type NetworkKind, NetworkModel } from "../network-model.js";
import { completeVQConfig, VQ_CLASS, type VQConfigKeys } from "./config.js";
import { codeSize, decodeStagesOf, halvingsOf, vqNetwork } from "./network.js";

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
export class VQModel extends NetworkModel<VQConfigKeys> {
  /** The class's name, keys and defaults. */
  static readonly kind: NetworkKind<VQConfigKeys> = {
    ...VQ_CLASS,
    write: (given) => {
      const config = completeVQConfig(given);
      return { config, spec: vqNetwork(config) };
    },
  };

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
    const { forceNotQuantize = false, signal } = checkOptions(
      options,
      ["forceNotQuantize", "signal"],
      "VQModel.decode",
    );
    const codes = checkBoolean(forceNotQuantize, "forceNotQuantize") && this.config.lookup_from_codebook;
    if (codes) this.#checkCodes(z);
    else checkFeatures(z, "z", codeSize(this.config), this);
    return { sample: await this.#decodeStages(await this.#latentsOf(z, codes, forceNotQuantize, signal), signal) };
  }

  /** What the decoder starts from; a tensor of its own, that may be freed. */
  async #latentsOf(z: Tensor, codes: boolean, asTheyAre: boolean, signal: AbortSignal | undefined): Promise<Tensor> {
    if (codes) return this.#call("lookup_codes", [z], signal);
    return asTheyAre ? op("slice.Tensor", z, 0) : this.#call("quantize_latents", [z], signal);
  }

  /**
   * Encode and decode.
   * @param sample `[batch, in_channels, height, width]` in [-1, 1]
   * @throws as {@link encode} and {@link decode}
   */
  async forward(sample: Tensor, options?: { signal?: AbortSignal }): Promise<DecoderOutput> {
    const { signal } = checkOptions(options, ["signal"], "VQModel.forward");
    const { latents } = await this.encode(sample, { signal });
    const held: [Tensor] = [latents];
    try {
      return await runAt(this, held, () => this.decode(held[0], { signal }));
    } finally {
      held[0].dispose();
    }
  }

  /** @param latents quantised; freed */
  async #decodeStages(latents: Tensor, signal: AbortSignal | undefined): Promise<Tensor> {
    // The latents, and what the stage before made of them.
    const held = [latents];
    try {
      for (const stage of decodeStagesOf(this.config)) {
        const features = await runAt(this, held, () => this.#call(stage, [...held].reverse(), signal));
        held[1]?.dispose();
        held[1] = features;
      }
      const picture = held.pop();
      if (!picture || held.length === 0) throw new LatentDiffusionError("ERR_INTERNAL", "The decoder has no stages");
      return picture;
    } finally {
      held.forEach((tensor) => tensor.dispose());
    }
  }

  async #call(method: string, args: readonly Tensor[], signal: AbortSignal | undefined): Promise<Tensor> {
    const result = await this.module.call(method, args, { signal });
    if (result instanceof Tensor) return result;
    throw new LatentDiffusionError("ERR_INTERNAL", `${method} did not return one tensor`);
  }

  #checkPicture(x: Tensor): void {
    const [, , height = 0, width = 0] = checkFeatures(x, "x", this.config.in_channels, this).shape;
    const least = 2 ** halvingsOf(this.config);
    for (const [name, size] of [
      ["height", height],
      ["width", width],
    ] as const) {
      if (size < least) throw mismatch(`at least ${least}`, `the ${name} of x`, String(size));
    }
  }

  #checkCodes(codes: Tensor): void {
    const { shape, dtype } = checkTensor(codes, "z", this.device);
    if (shape.length !== 3 || (dtype !== "int64" && dtype !== "int32")) {
      throw mismatch(
        "int64 codes of shape [batch, height, width], for lookup_from_codebook,",
        "z",
        `${dtype} ${formatShape(shape)}`,
      );
    }
  }
}
