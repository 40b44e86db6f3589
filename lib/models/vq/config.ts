import type { JsonObject } from "../../files/json.js";
import {
  completeConfig,
  type Config,
  type Fields,
  flag,
  integer,
  listOf,
  nullable,
  number,
  oneOf,
  sampleSize,
  unsupported,
} from "../../config/fields.js";
import { activationField, blockField } from "../unet-2d/config.js";

/** The down blocks that diffusers runs in a VQModel's encoder; each name may have the prefix `UNetRes` too. */
export const ENCODER_BLOCKS = ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"] as const;

export const DECODER_BLOCKS = ["UpDecoderBlock2D", "AttnUpDecoderBlock2D"] as const;

/** The keys of a VQModel's config.json. @see diffusers.VQModel */
export interface VQConfigKeys {
  readonly in_channels: number;
  readonly out_channels: number;
  readonly down_block_types: readonly string[];
  readonly up_block_types: readonly string[];
  readonly block_out_channels: readonly number[];
  readonly layers_per_block: number;
  /** `"silu"`, `"swish"`, `"mish"`, `"gelu"` or `"relu"`, in any case. */
  readonly act_fn: string;
  readonly latent_channels: number;
  /** Changes nothing. */
  readonly sample_size: number | readonly number[];
  readonly num_vq_embeddings: number;
  readonly norm_num_groups: number;
  /** Size of one code; null: `latent_channels`. */
  readonly vq_embed_dim: number | null;
  /** What a pipeline divides latents by before decoding. A checkpoint that leaves it out means 1. */
  readonly scaling_factor: number;
  /** `"spatial"`: the decoder's norms are modulated by the latents. */
  readonly norm_type: "group" | "spatial";
  readonly mid_block_add_attention: boolean;
  /** With `forceNotQuantize`, decode takes codes instead of latents. */
  readonly lookup_from_codebook: boolean;
  /** Changes nothing. */
  readonly force_upcast: boolean;
}

export type VQConfig = Config<VQConfigKeys>;

const FIELDS: Fields<VQConfigKeys> = {
  in_channels: integer(3),
  out_channels: integer(3),
  down_block_types: listOf(["DownEncoderBlock2D"], blockField(ENCODER_BLOCKS)),
  up_block_types: listOf(["UpDecoderBlock2D"], blockField(DECODER_BLOCKS)),
  block_out_channels: listOf([64], integer(1)),
  layers_per_block: integer(1, 0),
  act_fn: activationField,
  latent_channels: integer(3),
  sample_size: sampleSize,
  num_vq_embeddings: integer(256),
  norm_num_groups: integer(32),
  vq_embed_dim: nullable(integer(1)),
  scaling_factor: number(0.18215, "a finite number other than 0", (value) => value !== 0),
  norm_type: oneOf("group", ["group", "spatial"]),
  mid_block_add_attention: flag(true),
  lookup_from_codebook: flag(false),
  force_upcast: flag(false),
};

/**
 * Check a VQModel's config and fill in diffusers' defaults; a file without `scaling_factor` is older than that key, and means 1.
 * @param fromFile whether it is known to come from a file, which may lack the `_class_name` that tells
 * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming key and value; InvalidArgumentError for a literal's unknown key
 */
export function completeVQConfig(config: Partial<VQConfigKeys> | JsonObject, fromFile = false): VQConfig {
  const complete = completeConfig("VQModel", FIELDS, config, { fromFile, absentInFile: { scaling_factor: 1 } });
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
