import { unsupported } from "../../config/fields.js";
import { int } from "../torchscript/source.js";
import type { UNet2DConfig } from "./config.js";
import { type DownBlockOptions, downResiduals, isSkip, range } from "./down-blocks.js";
import { upInputs, type UpBlockOptions } from "./up-blocks.js";

/** A tensor on its way through the network: how often it was halved, its channels, its name in the source. */
export interface Features {
  readonly name: string;
  readonly level: number;
  readonly channels: number;
}

/** What a residual is called in the root's forward: the input's is d, block 2's second is d2_1. */
export function residualName(block: number, index: number): string {
  return `d${int(block)}_${int(index)}`;
}

/** One up block and what it takes. */
interface TracedUp {
  readonly options: UpBlockOptions;
  /** In the order of use. */
  readonly residuals: readonly Features[];
  /** Whether it hands a picture on. */
  readonly skip: boolean;
}

/** What {@link traceUp} finds. */
export interface Trace {
  readonly ups: readonly TracedUp[];
  /** What is added to the output: the picture of the Skip blocks, the number 0, or nothing. */
  readonly skip: "tensor" | "zero" | "none";
}

/** The picture that Skip blocks carry; `"zero"` is diffusers' number 0, null is its None. */
type Skip = { readonly level: number } | "zero" | null;

/**
 * Walk through the blocks as diffusers' forward does, with sizes and channels instead of tensors, and give each up block its
 * residuals. So every mixture of blocks that diffusers can run is run, and every other is refused before any work.
 * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming the block that does not fit, and why
 */
export function traceUp(
  config: UNet2DConfig,
  downs: readonly DownBlockOptions[],
  ups: readonly UpBlockOptions[],
): Trace {
  const stack = traceDown(config, downs);
  let x: Features = { name: "x", level: downs.length - 1, channels: config.block_out_channels.at(-1) ?? 0 };
  let skip: Skip = null;
  const traced = ups.map((options, i): TracedUp => {
    const refuse: Refuse = (why) => misfit("up_block_types", i, config, why);
    const residuals = takeResiduals(stack, options, x, refuse);
    const takesSkip = isSkip(options.type) && skip !== null && skip !== "zero";
    if (isSkip(options.type)) skip = traceSkip(skip, options, x, refuse);
    x = {
      name: "x",
      level: x.level - (options.upsample ? 1 : 0),
      channels: options.type === "KUpBlock2D" ? options.inChannels : options.outChannels,
    };
    return {
      options: { ...options, takesSkip },
      residuals,
      skip: isSkip(options.type) && skip !== null && skip !== "zero",
    };
  });
  return { ups: traced, skip: checkOutput(config, x, skip) };
}

type Refuse = (why: string) => never;

/** The residuals that the down blocks leave, in order. */
function traceDown(config: UNet2DConfig, downs: readonly DownBlockOptions[]): Features[] {
  const stack: Features[] = [{ name: "d", level: 0, channels: config.block_out_channels[0] ?? 0 }];
  let skipLevel = 0;
  downs.forEach((options, i) => {
    checkLayers(options);
    for (const index of range(downResiduals(options))) {
      stack.push({
        name: residualName(i, index),
        level: index < options.layers ? i : i + 1,
        channels: options.outChannels,
      });
    }
    if (!isSkip(options.type) || !options.downsample) return;
    if (config.in_channels !== 3)
      throw unsupported("in_channels", `3, which is built into ${options.type}`, config.in_channels);
    if (skipLevel !== i) misfit("down_block_types", i, config, "only Skip blocks may stand before a Skip block");
    skipLevel++;
  });
  return stack;
}

/** Without layers nothing changes the channels, and a K block's up block has none at all. */
function checkLayers({ type, layers, inChannels, outChannels }: DownBlockOptions): void {
  if (layers > 0) return;
  if (type === "KDownBlock2D") throw unsupported("layers_per_block", `at least 1 with ${type}`, layers);
  if (inChannels !== outChannels)
    throw unsupported(
      "layers_per_block",
      `at least 1 where the channels change from ${inChannels} to ${outChannels}`,
      layers,
    );
}

/** Take an up block's residuals off the stack; each must have the size and the channels that the block expects. */
function takeResiduals(stack: Features[], options: UpBlockOptions, x: Features, refuse: Refuse): Features[] {
  const inputs = upInputs(options);
  if (options.type === "KUpBlock2D") {
    // It uses the last residual only, and drops those of its other layers.
    const last = stack.splice(-options.layers).at(-1);
    return last
      ? [checkResidual(last, x, [x.channels, last.channels], inputs[0] ?? [0, 0], refuse)]
      : refuse("the down blocks leave nothing for it");
  }
  let channels = x.channels;
  return inputs.map((expected) => {
    const residual = stack.pop() ?? refuse("the down blocks leave too few residuals for it");
    checkResidual(residual, x, [channels, residual.channels], expected, refuse);
    channels = options.outChannels;
    return residual;
  });
}

function checkResidual(
  residual: Features,
  x: Features,
  found: readonly [number, number],
  expected: readonly [number, number],
  refuse: Refuse,
): Features {
  if (residual.level !== x.level) refuse("the residuals of the down blocks have another size there");
  if (found[0] + found[1] !== expected[0] + expected[1]) {
    refuse(`it expects ${expected[0]} + ${expected[1]} channels and would receive ${found[0]} + ${found[1]}`);
  }
  return residual;
}

/** The picture after one Skip up block. */
function traceSkip(skip: Skip, options: UpBlockOptions, x: Features, refuse: Refuse): Skip {
  const before = skip === null || skip === "zero" ? null : { level: skip.level - 1 };
  if (!options.upsample) return before ?? "zero";
  if (before && before.level !== x.level) refuse("only Skip blocks may stand between Skip blocks");
  return { level: x.level };
}

function checkOutput(config: UNet2DConfig, x: Features, skip: Skip): Trace["skip"] {
  const base = config.block_out_channels[0] ?? 0;
  if (x.channels !== base)
    misfit(
      "up_block_types",
      config.up_block_types.length - 1,
      config,
      `it leaves ${x.channels} channels instead of ${base}`,
    );
  if (skip === null) return "none";
  if (skip === "zero") return "zero";
  if (skip.level !== 0)
    misfit(
      "up_block_types",
      config.up_block_types.length - 1,
      config,
      "a Skip block must be followed by Skip blocks only",
    );
  if (config.out_channels !== 3)
    throw unsupported("out_channels", "3, which is built into the Skip blocks", config.out_channels);
  return "tensor";
}

/** Refuse blocks that do not fit together. */
function misfit(key: "down_block_types" | "up_block_types", index: number, config: UNet2DConfig, why: string): never {
  throw unsupported(`${key}[${index}]`, `a block that fits the others (${why})`, config[key][index]);
}
