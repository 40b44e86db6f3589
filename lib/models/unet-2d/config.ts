import type { JsonObject } from "../../files/json.js";
import {
  completeConfig,
  type Config,
  type Field,
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
import { type Activation, ACTIVATION_NAMES } from "../torchscript/source.js";

/** The down blocks that diffusers runs in a UNet2DModel; each name may have the prefix `UNetRes` too. */
export const DOWN_BLOCKS = [
  "DownBlock2D",
  "AttnDownBlock2D",
  "ResnetDownsampleBlock2D",
  "SkipDownBlock2D",
  "AttnSkipDownBlock2D",
  "KDownBlock2D",
] as const;
export type DownBlockType = (typeof DOWN_BLOCKS)[number];

export const UP_BLOCKS = [
  "UpBlock2D",
  "AttnUpBlock2D",
  "ResnetUpsampleBlock2D",
  "SkipUpBlock2D",
  "AttnSkipUpBlock2D",
  "KUpBlock2D",
] as const;
export type UpBlockType = (typeof UP_BLOCKS)[number];

/** The keys of a UNet's config.json. @see diffusers.UNet2DModel */
export interface UNet2DConfigKeys {
  /** Height and width of the latents; null: whoever calls must say. */
  readonly sample_size: number | readonly number[] | null;
  readonly in_channels: number;
  readonly out_channels: number;
  /** Map input from [0, 1] to [-1, 1]. */
  readonly center_input_sample: boolean;
  readonly time_embedding_type: "positional" | "fourier" | "learned";
  /** Null: four times the first of `block_out_channels`. */
  readonly time_embedding_dim: number | null;
  readonly freq_shift: number;
  readonly flip_sin_to_cos: boolean;
  readonly down_block_types: readonly string[];
  readonly mid_block_type: "UNetMidBlock2D" | null;
  readonly up_block_types: readonly string[];
  readonly block_out_channels: readonly number[];
  readonly layers_per_block: number;
  readonly mid_block_scale_factor: number;
  /** 1, or 0 to pad below and to the right only. */
  readonly downsample_padding: number;
  /** Of blocks with attention; the others have a type of their own. */
  readonly downsample_type: "conv" | "resnet" | null;
  readonly upsample_type: "conv" | "resnet" | null;
  /** Acts in training only. */
  readonly dropout: number;
  /** `"silu"`, `"swish"`, `"mish"`, `"gelu"` or `"relu"`, in any case. */
  readonly act_fn: string;
  /** Null: one head. */
  readonly attention_head_dim: number | null;
  readonly norm_num_groups: number;
  /** Of the middle block; null: `norm_num_groups`, and no norm with `scale_shift`. */
  readonly attn_norm_num_groups: number | null;
  readonly norm_eps: number;
  readonly resnet_time_scale_shift: "default" | "scale_shift";
  /** Of the middle block. */
  readonly add_attention: boolean;
  readonly class_embed_type: "timestep" | "identity" | null;
  readonly num_class_embeds: number | null;
  /** The length of the table of a learned time embedding. */
  readonly num_train_timesteps: number | null;
}

export type UNet2DConfig = Config<UNet2DConfigKeys>;

/** An activation's name in any case, as Python's `act_fn.lower()`. */
export const activationField: Field<string> = {
  fallback: "silu",
  check: (value, key) => {
    if (typeof value === "string" && (ACTIVATION_NAMES as readonly string[]).includes(value.toLowerCase()))
      return value;
    throw unsupported(key, `one of ${ACTIVATION_NAMES.map((name) => JSON.stringify(name)).join(", ")}`, value);
  },
};

/** The entry of the closed table that a checked `act_fn` names. */
export function activationOf(name: string): Activation {
  return ACTIVATION_NAMES.find((known) => known === name.toLowerCase()) ?? "silu";
}

/** The block's name without the prefix that old checkpoints have; undefined if the table does not hold it. */
export function blockType<T extends string>(name: string, known: readonly T[]): T | undefined {
  const bare = name.startsWith("UNetRes") ? name.slice("UNetRes".length) : name;
  return known.find((candidate) => candidate === bare);
}

/** A block type of a table, with or without the prefix. */
export function blockField(known: readonly string[]): Field<string> {
  return {
    fallback: known[0] ?? "",
    check: (value, key) => {
      if (typeof value === "string" && blockType(value, known)) return value;
      throw unsupported(key, `one of ${known.map((name) => JSON.stringify(name)).join(", ")}`, value);
    },
  };
}

const FIELDS: Fields<UNet2DConfigKeys> = {
  sample_size: nullable(sampleSize),
  in_channels: integer(3),
  out_channels: integer(3),
  center_input_sample: flag(false),
  time_embedding_type: oneOf("positional", ["positional", "fourier", "learned"]),
  time_embedding_dim: nullable(integer(0, 0)),
  freq_shift: number(0),
  flip_sin_to_cos: flag(true),
  down_block_types: listOf(
    ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
    blockField(DOWN_BLOCKS),
  ),
  mid_block_type: nullable(oneOf("UNetMidBlock2D", ["UNetMidBlock2D"]), "UNetMidBlock2D"),
  up_block_types: listOf(["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"], blockField(UP_BLOCKS)),
  block_out_channels: listOf([224, 448, 672, 896], integer(1)),
  layers_per_block: integer(2),
  mid_block_scale_factor: number(1, "a finite number other than 0", (value) => value !== 0),
  downsample_padding: oneOf(1, [0, 1]),
  downsample_type: nullable(oneOf("conv", ["conv", "resnet"]), "conv"),
  upsample_type: nullable(oneOf("conv", ["conv", "resnet"]), "conv"),
  dropout: number(0, "a number from 0 to 1", (value) => value >= 0 && value <= 1),
  act_fn: activationField,
  attention_head_dim: nullable(integer(8), 8),
  norm_num_groups: integer(32),
  attn_norm_num_groups: nullable(integer(1)),
  norm_eps: number(1e-5, "a number of at least 0", (value) => value >= 0),
  resnet_time_scale_shift: oneOf("default", ["default", "scale_shift"]),
  add_attention: flag(true),
  class_embed_type: nullable(oneOf("timestep", ["timestep", "identity"])),
  num_class_embeds: nullable(integer(1)),
  num_train_timesteps: nullable(integer(1)),
};

/**
 * Check a UNet's config and fill in diffusers' defaults.
 * @param fromFile whether it is known to come from a file, which may lack the `_class_name` that tells
 * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming key and value; InvalidArgumentError for a literal's unknown key
 */
export function completeUNet2DConfig(config: Partial<UNet2DConfigKeys> | JsonObject, fromFile = false): UNet2DConfig {
  const complete = completeConfig("UNet2DModel", FIELDS, config, { fromFile });
  const levels = complete.block_out_channels.length;
  for (const key of ["down_block_types", "up_block_types"] as const) {
    if (complete[key].length !== levels)
      throw unsupported(key, `${levels} block types, one for each of block_out_channels`, complete[key]);
  }
  if (complete.time_embedding_type === "learned" && complete.num_train_timesteps === null) {
    throw unsupported("num_train_timesteps", 'an integer with time_embedding_type "learned"', null);
  }
  return complete;
}
