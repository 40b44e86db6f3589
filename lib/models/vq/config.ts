import { type Config, type ConfigClass, completeNetwork } from "../../config/config.js";
import {
  boolean,
  type Field,
  float,
  integer,
  listOf,
  MAX_CHANNELS,
  MAX_EMBEDDINGS,
  MAX_LAYERS,
  MAX_LEVELS,
  nullable,
  oneOf,
  unsupported,
} from "../../config/fields.js";
import { copyJson, type JsonObject, type JsonValue } from "../../files/json.js";
import { activationField, blockField } from "../unet-2d/config.js";

/** The down blocks that diffusers runs in a VQModel's encoder; each name may have the prefix `UNetRes` too. */
export const ENCODER_BLOCKS = ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"] as const;

export const DECODER_BLOCKS = ["UpDecoderBlock2D", "AttnUpDecoderBlock2D"] as const;

/** The keys of a VQModel's config.json. @see diffusers.VQModel */
export interface VQConfigKeys {
  /** Channels of a picture; default 3. */
  readonly in_channels: number;
  /** Channels of a decoded picture; default 3. */
  readonly out_channels: number;
  /** The encoder's blocks, one per level; default `["DownEncoderBlock2D"]`. */
  readonly down_block_types: readonly string[];
  /** The decoder's blocks, one per level; default `["UpDecoderBlock2D"]`. */
  readonly up_block_types: readonly string[];
  /** Channels of each level; default [64]. */
  readonly block_out_channels: readonly number[];
  /** Residual layers of an encoder block; a decoder block has one more. Default 1. */
  readonly layers_per_block: number;
  /** `"silu"`, `"swish"`, `"mish"`, `"gelu"` or `"relu"`, in any case; default `"silu"`. */
  readonly act_fn: string;
  /** Channels of the latents; default 3. */
  readonly latent_channels: number;
  /** Changes nothing, whatever it is; default 32. */
  readonly sample_size: JsonValue;
  /** Number of codes; default 256. */
  readonly num_vq_embeddings: number;
  /** Groups of the norms; default 32. */
  readonly norm_num_groups: number;
  /** Size of one code; null: `latent_channels`. Default null. */
  readonly vq_embed_dim: number | null;
  /** What a pipeline divides latents by before decoding, not 0; default 0.18215. A checkpoint that leaves it out means 1. */
  readonly scaling_factor: number;
  /** `"spatial"`: the decoder's norms are modulated by the latents; default `"group"`. */
  readonly norm_type: "group" | "spatial";
  /** Whether the middle blocks have attention; default true. */
  readonly mid_block_add_attention: boolean;
  /** Whether decode takes codes instead of latents with `forceNotQuantize`; default false. */
  readonly lookup_from_codebook: boolean;
  /** Changes nothing, whatever it is; default false. */
  readonly force_upcast: JsonValue;
}

export type VQConfig = Config<VQConfigKeys>;

const channels = (fallback: number): Field<number> => integer(fallback, { max: MAX_CHANNELS });

/** A key that diffusers only keeps. */
const anything = (fallback: JsonValue): Field<JsonValue> => ({
  fallback,
  isFloat: false,
  check: (value, key) => copyJson(value, key),
});

/** The class's name, keys and defaults. A file without `scaling_factor` is older than that key, and means 1. */
export const VQ_CLASS: ConfigClass<VQConfigKeys> = {
  className: "VQModel",
  fields: {
    in_channels: channels(3),
    out_channels: channels(3),
    down_block_types: listOf(["DownEncoderBlock2D"], blockField(ENCODER_BLOCKS), MAX_LEVELS),
    up_block_types: listOf(["UpDecoderBlock2D"], blockField(DECODER_BLOCKS), MAX_LEVELS),
    block_out_channels: listOf([64], channels(1), MAX_LEVELS),
    layers_per_block: integer(1, { min: 0, max: MAX_LAYERS }),
    act_fn: activationField,
    latent_channels: channels(3),
    sample_size: anything(32),
    num_vq_embeddings: integer(256, { max: MAX_EMBEDDINGS }),
    norm_num_groups: channels(32),
    vq_embed_dim: nullable(channels(1)),
    scaling_factor: float(0.18215, { nonZero: true }),
    norm_type: oneOf("group", ["group", "spatial"]),
    mid_block_add_attention: boolean(true),
    lookup_from_codebook: boolean(false),
    force_upcast: anything(false),
  },
  absentInFile: { scaling_factor: 1 },
};

/**
 * Check a VQModel's config and fill in diffusers' defaults.
 * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming key and value; InvalidArgumentError for a literal's unknown key
 */
export function completeVQConfig(config: Partial<VQConfigKeys> | JsonObject): VQConfig {
  const complete = completeNetwork(VQ_CLASS, config);
  const { norm_type, vq_embed_dim, latent_channels, block_out_channels } = complete;
  if (norm_type === "spatial" && vq_embed_dim !== null && vq_embed_dim !== latent_channels) {
    throw unsupported("vq_embed_dim", `latent_channels (${latent_channels}) with norm_type "spatial"`, vq_embed_dim);
  }
  for (const key of ["down_block_types", "up_block_types"] as const) {
    if (complete[key].length > block_out_channels.length) {
      throw unsupported(
        key,
        `at most ${block_out_channels.length} block types, one for each of block_out_channels`,
        complete[key],
      );
    }
  }
  return complete;
}
