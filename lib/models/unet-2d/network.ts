import type { ModuleSpec } from "../../native/contract.js";
import { attention } from "../layers/attention.js";
import { gaussianFourierProjection, timestepEmbedding, timesteps } from "../layers/embeddings.js";
import { conv2d, embedding, groupNorm } from "../layers/basic.js";
import { midBlock } from "../layers/mid-block.js";
import { resnetBlock2d } from "../layers/resnet.js";
import { callItem, int, method, moduleList, moduleSpec } from "../torchscript/source.js";
import {
  activationOf,
  blockType,
  DOWN_BLOCKS,
  type DownBlockType,
  UP_BLOCKS,
  type UNet2DConfig,
  type UpBlockType,
} from "./config.js";
import {
  downBlock,
  type DownBlockOptions,
  downResiduals,
  isSkip,
  range,
  skipGroups,
  type UNetStyle,
} from "./down-blocks.js";
import { type CacheBranch, cacheBranches, cachedForward } from "./cached-forward.js";
import { type Features, residualName, type Trace, traceUp } from "./trace.js";
import { upBlock, type UpBlockOptions } from "./up-blocks.js";

/** What the blocks of one network share. */
interface Shape {
  readonly config: UNet2DConfig;
  readonly style: UNetStyle;
  readonly levels: number;
  readonly downTypes: readonly DownBlockType[];
  readonly upTypes: readonly UpBlockType[];
}

/** Size of the time embedding. */
export function timeEmbeddingSize({ time_embedding_dim, block_out_channels }: UNet2DConfig): number {
  return time_embedding_dim || (block_out_channels[0] ?? 0) * 4;
}

/** What heights and widths a network takes. */
export interface SampleSizes {
  /** Each is a multiple of this number. */
  readonly multiple: number;
  /** Each is at least this number. */
  readonly least: number;
}

/** The sizes of a sample: halving must come out even, and a reflecting border needs two pixels. */
export function sampleSizesOf(config: UNet2DConfig): SampleSizes {
  const levels = config.block_out_channels.length;
  const multiple = 2 ** (levels - 1);
  const reflects = levels > 1 && [...downTypesOf(config), ...upTypesOf(config)].some((type) => type.startsWith("K"));
  return { multiple, least: reflects ? 2 * multiple : multiple };
}

function downTypesOf({ down_block_types }: UNet2DConfig): DownBlockType[] {
  return down_block_types.map((name) => blockType(name, DOWN_BLOCKS) ?? "DownBlock2D");
}

function upTypesOf({ up_block_types }: UNet2DConfig): UpBlockType[] {
  return up_block_types.map((name) => blockType(name, UP_BLOCKS) ?? "UpBlock2D");
}

/**
 * Write the network of a checked config.
 * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` where the blocks do not fit together, as diffusers fails in its forward
 * @see diffusers.UNet2DModel
 */
export function unet2dNetwork(config: UNet2DConfig): ModuleSpec {
  return assemble(shapeOf(config), config.block_out_channels[0] ?? 0);
}

/** The places where the method `forward_cached` can keep deep features; none where the blocks do not allow it, and there is no such method. */
export function cacheBranchesOf(config: UNet2DConfig): CacheBranch[] {
  const shape = shapeOf(config);
  const downs = downOptions(shape);
  return cacheBranches(downs, traceUp(config, downs, upOptions(shape)));
}

function shapeOf(config: UNet2DConfig): Shape {
  const channels = config.block_out_channels;
  return {
    config,
    style: {
      timeChannels: timeEmbeddingSize(config),
      timeScaleShift: config.resnet_time_scale_shift,
      // Null with Skip and K blocks only, which make their own: then it is the middle block's.
      groups: config.norm_num_groups ?? skipGroups(channels.at(-1) ?? 0),
      eps: config.norm_eps,
      activation: activationOf(config.act_fn),
    },
    levels: channels.length,
    downTypes: downTypesOf(config),
    upTypes: upTypesOf(config),
  };
}

function assemble(shape: Shape, base: number): ModuleSpec {
  const {
    config,
    style: { timeChannels },
  } = shape;
  const downs = downOptions(shape);
  const trace = traceUp(config, downs, upOptions(shape));
  const mid = config.mid_block_type === null ? null : middle(shape);
  const lines = {
    labels: hasClasses(config) ? ", class_labels: Tensor" : "",
    before: [...embedLines(config, timeChannels), ...inLines(config, downs)],
    middle: mid === null ? null : "x = self.mid_block.forward(x, emb)",
    after: outLines(config, trace.skip),
  };
  return moduleSpec("UNet2DModel", {
    children: [
      ["conv_in", conv2d(config.in_channels, base, { kernel: 3, padding: 1 })],
      ["time_proj", timeProjection(config, base)],
      ["time_embedding", timestepEmbedding(timeFeatures(config, base), timeChannels)],
      ...classEmbedding(config, base, timeChannels),
      ["down_blocks", moduleList(downs.map(downBlock))],
      mid !== null && ["mid_block", mid],
      ["up_blocks", moduleList(trace.ups.map(({ options }) => upBlock(options)))],
      [
        "conv_norm_out",
        groupNorm(base, {
          groups: config.norm_num_groups ?? skipGroups(base),
          eps: config.norm_eps,
          key: "norm_num_groups",
        }),
      ],
      ["conv_out", conv2d(base, config.out_channels, { kernel: 3, padding: 1 })],
    ],
    methods: [
      method(
        `forward(self, sample: Tensor, timestep: Tensor${lines.labels}) -> Tensor`,
        lines.before,
        downLines(downs),
        lines.middle !== null && ["# 4. middle", lines.middle],
        "# 5. up",
        trace.ups.map(({ options, residuals, skip }, i) => upLine(options, residuals, skip, i)),
        lines.after,
        "return x",
      ),
      cachedForward(downs, trace, lines),
    ],
  });
}

function hasClasses({ class_embed_type, num_class_embeds }: UNet2DConfig): boolean {
  return class_embed_type !== null || num_class_embeds !== null;
}

/** Size of what the time projection makes. */
function timeFeatures({ time_embedding_type }: UNet2DConfig, base: number): number {
  return time_embedding_type === "fourier" ? 2 * base : base;
}

function timeProjection(
  { time_embedding_type, flip_sin_to_cos, freq_shift, num_train_timesteps }: UNet2DConfig,
  base: number,
): ModuleSpec {
  switch (time_embedding_type) {
    case "fourier":
      return gaussianFourierProjection(base);
    case "learned":
      return embedding(num_train_timesteps ?? 0, base);
    case "positional":
      return timesteps(base, flip_sin_to_cos, freq_shift);
  }
}

function classEmbedding(config: UNet2DConfig, base: number, timeChannels: number): (readonly [string, ModuleSpec])[] {
  if (config.class_embed_type === "timestep")
    return [["class_embedding", timestepEmbedding(timeFeatures(config, base), timeChannels)]];
  if (config.class_embed_type === "identity" || config.num_class_embeds === null) return [];
  return [["class_embedding", embedding(config.num_class_embeds, timeChannels)]];
}

function embedLines(config: UNet2DConfig, timeChannels: number): (string | false | readonly string[])[] {
  return [
    config.center_input_sample && ["# 0. center", "sample = sample * 2 - 1.0"],
    "# 1. time",
    "if timestep.dim() == 0:",
    "    timestep = timestep[None]",
    "timestep = timestep.to(sample.device)",
    "timestep = timestep * torch.ones([sample.shape[0]], dtype=timestep.dtype, device=timestep.device)  # [batch]",
    `emb = self.time_embedding.forward(self.time_proj.forward(timestep).to(sample.dtype))  # [batch, ${int(timeChannels)}]`,
    config.class_embed_type === "timestep" &&
      "emb = emb + self.class_embedding.forward(self.time_proj.forward(class_labels).to(sample.dtype))",
    config.class_embed_type === "identity" && "emb = emb + class_labels.to(sample.dtype)",
    config.class_embed_type === null &&
      config.num_class_embeds !== null &&
      "emb = emb + self.class_embedding.forward(class_labels)",
  ];
}

function downOptions({ config, style, levels, downTypes }: Shape): DownBlockOptions[] {
  return downTypes.map((type, i) => {
    const outChannels = config.block_out_channels[i] ?? 0;
    return {
      type,
      style,
      outChannels,
      inChannels: config.block_out_channels[Math.max(i - 1, 0)] ?? 0,
      layers: config.layers_per_block,
      downsample: i < levels - 1,
      padding: config.downsample_padding === 0 ? 0 : 1,
      downsampleType: config.downsample_type ?? "conv",
      headDim: config.attention_head_dim ?? outChannels,
    };
  });
}

function upOptions({ config, style, levels, upTypes }: Shape): UpBlockOptions[] {
  const reversed = [...config.block_out_channels].reverse();
  return upTypes.map((type, i) => {
    const outChannels = reversed[i] ?? 0;
    return {
      type,
      style,
      outChannels,
      previousChannels: reversed[Math.max(i - 1, 0)] ?? 0,
      inChannels: reversed[Math.min(i + 1, levels - 1)] ?? 0,
      layers: config.layers_per_block,
      upsample: i < levels - 1,
      upsampleType: config.upsample_type ?? "conv",
      headDim: config.attention_head_dim ?? outChannels,
      takesSkip: false,
    };
  });
}

function middle({ config, style }: Shape): ModuleSpec {
  const channels = config.block_out_channels.at(-1) ?? 0;
  const outputScaleFactor = config.mid_block_scale_factor;
  const groups = config.attn_norm_num_groups ?? (style.timeScaleShift === "default" ? style.groups : null);
  return midBlock({
    channels,
    condition: "temb",
    resnet: () => resnetBlock2d({ inChannels: channels, outChannels: channels, style, outputScaleFactor }),
    attention: config.add_attention
      ? attention({
          channels,
          headDim: config.attention_head_dim ?? channels,
          groups,
          eps: style.eps,
          outputScaleFactor,
          groupsKey: config.attn_norm_num_groups === null ? "norm_num_groups" : "attn_norm_num_groups",
        })
      : null,
  });
}

function inLines(config: UNet2DConfig, downs: readonly DownBlockOptions[]): (string | false)[] {
  return [
    "# 2. in",
    downs.some(({ type }) => isSkip(type)) && "skip = sample",
    `x = self.conv_in.forward(sample)  # [batch, ${int(config.block_out_channels[0] ?? 0)}, height, width]`,
    "d = x",
  ];
}

function downLines(downs: readonly DownBlockOptions[]): string[] {
  return [
    "# 3. down",
    ...downs.map((options, i) => {
      const names = range(downResiduals(options)).map((index) => residualName(i, index));
      const skip = isSkip(options.type) ? ["skip"] : [];
      return `${["x", ...skip, ...names].join(", ")} = ${callItem("self.down_blocks", i, "x", "emb", ...skip)}`;
    }),
  ];
}

function upLine(options: UpBlockOptions, residuals: readonly Features[], skip: boolean, index: number): string {
  const names = residuals.map(({ name }) => name);
  const call = callItem("self.up_blocks", index, "x", "emb", ...(options.takesSkip ? ["skip"] : []), ...names);
  return `${skip ? "x, skip" : "x"} = ${call}`;
}

function outLines(config: UNet2DConfig, skip: Trace["skip"]): (string | false)[] {
  return [
    "# 6. out",
    "x = self.conv_out.forward(torch.silu(self.conv_norm_out.forward(x)))",
    skip === "tensor" && "x = x + skip",
    // diffusers adds the number 0 where no Skip block made a picture.
    skip === "zero" && "x = x + 0",
    config.time_embedding_type === "fourier" && "x = x / timestep.reshape(x.shape[0], 1, 1, 1)",
  ];
}
