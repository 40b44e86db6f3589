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
  MAX_TRAIN_TIMESTEPS,
  nullable,
  number,
  oneOf,
  sampleSize,
  unsupported,
} from "../../config/fields.js";
import type { JsonObject } from "../../files/json.js";
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
  /** Height and width of the latents: one number for both, or the two; null: the caller must say. Default null. */
  readonly sample_size: number | readonly number[] | null;
  /** Channels of the latents; default 3. */
  readonly in_channels: number;
  /** Channels of the output; default 3. */
  readonly out_channels: number;
  /** Whether the input is mapped from [0, 1] to [-1, 1] first; default false. */
  readonly center_input_sample: boolean;
  /** How the timestep is embedded: by sines, by random Fourier features, or by a trained table; default `"positional"`. */
  readonly time_embedding_type: "positional" | "fourier" | "learned";
  /** Size of the time embedding; null or 0: four times the first of `block_out_channels`. Default null. */
  readonly time_embedding_dim: number | null;
  /** Shift of the exponent of the sines' frequencies; default 0. */
  readonly freq_shift: number;
  /** Whether cosines stand before sines; default true. */
  readonly flip_sin_to_cos: boolean;
  /** One block type per level, from the input down; default `DownBlock2D` and three `AttnDownBlock2D`. */
  readonly down_block_types: readonly string[];
  /** The block between down and up, or null for none; default `"UNetMidBlock2D"`. */
  readonly mid_block_type: "UNetMidBlock2D" | null;
  /** One block type per level, upwards; default three `AttnUpBlock2D` and `UpBlock2D`. */
  readonly up_block_types: readonly string[];
  /** Channels of each level; default [224, 448, 672, 896]. */
  readonly block_out_channels: readonly number[];
  /** Residual layers of a down block; an up block has one more. Default 2. */
  readonly layers_per_block: number;
  /** What the middle block divides its sums by, not 0; default 1. */
  readonly mid_block_scale_factor: number;
  /** 1, or 0 to pad below and to the right only; default 1. */
  readonly downsample_padding: number;
  /** How blocks with attention halve the size; the others have a type of their own. Default `"conv"`. */
  readonly downsample_type: "conv" | "resnet" | null;
  /** How blocks with attention double the size; default `"conv"`. */
  readonly upsample_type: "conv" | "resnet" | null;
  /** Acts in training only; from 0 to 1, default 0. */
  readonly dropout: number;
  /** `"silu"`, `"swish"`, `"mish"`, `"gelu"` or `"relu"`, in any case; default `"silu"`. */
  readonly act_fn: string;
  /** Channels of one attention head; null: one head. Default 8. */
  readonly attention_head_dim: number | null;
  /** Groups of the norms; null for networks of Skip and K blocks, which make their own. Default 32. */
  readonly norm_num_groups: number | null;
  /** Groups of the middle block's attention; null: `norm_num_groups`, and no norm with `scale_shift`. Default null. */
  readonly attn_norm_num_groups: number | null;
  /** Added to the variance in norms; default 1e-5. */
  readonly norm_eps: number;
  /** Whether the time embedding is added, or scales and shifts; default `"default"`, which adds. */
  readonly resnet_time_scale_shift: "default" | "scale_shift";
  /** Whether the middle block has attention; default true. */
  readonly add_attention: boolean;
  /** How class labels are embedded; null: by a table, if `num_class_embeds` is set. Default null. */
  readonly class_embed_type: "timestep" | "identity" | null;
  /** Number of classes, or null for none; default null. */
  readonly num_class_embeds: number | null;
  /** Length of the table of a learned time embedding; default null. */
  readonly num_train_timesteps: number | null;
}

export type UNet2DConfig = Config<UNet2DConfigKeys>;

/** An activation's name in any case, as Python's `act_fn.lower()`. */
export const activationField: Field<string> = {
  fallback: "silu",
  isFloat: false,
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
    isFloat: false,
    check: (value, key) => {
      if (typeof value === "string" && blockType(value, known)) return value;
      throw unsupported(key, `one of ${known.map((name) => JSON.stringify(name)).join(", ")}`, value);
    },
  };
}

const channels = (fallback: number): Field<number> => integer(fallback, { max: MAX_CHANNELS });

/** The class's name, keys and defaults. */
export const UNET_2D_CLASS: ConfigClass<UNet2DConfigKeys> = {
  className: "UNet2DModel",
  fields: {
    sample_size: nullable(sampleSize),
    in_channels: channels(3),
    out_channels: channels(3),
    center_input_sample: boolean(false),
    time_embedding_type: oneOf("positional", ["positional", "fourier", "learned"]),
    time_embedding_dim: nullable(integer(0, { min: 0, max: 4 * MAX_CHANNELS })),
    freq_shift: number(0),
    flip_sin_to_cos: boolean(true),
    down_block_types: listOf(
      ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
      blockField(DOWN_BLOCKS),
      MAX_LEVELS,
    ),
    mid_block_type: nullable(oneOf("UNetMidBlock2D", ["UNetMidBlock2D"]), "UNetMidBlock2D"),
    up_block_types: listOf(
      ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
      blockField(UP_BLOCKS),
      MAX_LEVELS,
    ),
    block_out_channels: listOf([224, 448, 672, 896], channels(1), MAX_LEVELS),
    layers_per_block: integer(2, { min: 0, max: MAX_LAYERS }),
    mid_block_scale_factor: number(1, { nonZero: true }),
    downsample_padding: oneOf(1, [0, 1]),
    downsample_type: nullable(oneOf("conv", ["conv", "resnet"]), "conv"),
    upsample_type: nullable(oneOf("conv", ["conv", "resnet"]), "conv"),
    dropout: float(0, { min: 0, max: 1 }),
    act_fn: activationField,
    attention_head_dim: nullable(channels(8), 8),
    norm_num_groups: nullable(channels(32), 32),
    attn_norm_num_groups: nullable(channels(1)),
    norm_eps: float(1e-5, { min: 0 }),
    resnet_time_scale_shift: oneOf("default", ["default", "scale_shift"]),
    add_attention: boolean(true),
    class_embed_type: nullable(oneOf("timestep", ["timestep", "identity"])),
    num_class_embeds: nullable(integer(1, { max: MAX_EMBEDDINGS })),
    num_train_timesteps: nullable(integer(1, { max: MAX_TRAIN_TIMESTEPS })),
  },
};

/**
 * Check a UNet's config and fill in diffusers' defaults.
 * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming key and value; InvalidArgumentError for a literal's unknown key
 */
export function completeUNet2DConfig(config: Partial<UNet2DConfigKeys> | JsonObject): UNet2DConfig {
  const complete = completeNetwork(UNET_2D_CLASS, config);
  const levels = complete.block_out_channels.length;
  for (const key of ["down_block_types", "up_block_types"] as const) {
    if (complete[key].length !== levels)
      throw unsupported(key, `${levels} block types, one for each of block_out_channels`, complete[key]);
  }
  if (complete.time_embedding_type === "learned" && complete.num_train_timesteps === null) {
    throw unsupported("num_train_timesteps", 'an integer with time_embedding_type "learned"', null);
  }
  if (complete.norm_num_groups === null) checkOwnGroups(complete);
  return complete;
}

/** Only Skip and K blocks make their groups from their channels. */
function checkOwnGroups({ down_block_types: downs, up_block_types: ups }: UNet2DConfig): void {
  const plain = [...downs, ...ups].find((name) => !/Skip|^(UNetRes)?K/.test(name));
  if (plain !== undefined) throw unsupported("norm_num_groups", `an integer with the block ${plain}`, null);
}
