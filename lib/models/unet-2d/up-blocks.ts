import type { ModuleSpec } from "../../native/contract.js";
import { attention } from "../layers/attention.js";
import { conv2d, groupNorm } from "../layers/basic.js";
import { firResample, kResample, upsample2d } from "../layers/resampling.js";
import { kResnetBlock2d, resnetBlock2d } from "../layers/resnet.js";
import { callItem, int, method, moduleList, moduleSpec } from "../torchscript/source.js";
import type { UpBlockType } from "./config.js";
import { isSkip, range, residualNames, skipGroups, tuple, type UNetStyle } from "./down-blocks.js";

export interface UpBlockOptions {
  readonly type: UpBlockType;
  /** Channels of the next block: those of its residuals, the last of which this block takes too. */
  readonly inChannels: number;
  readonly outChannels: number;
  readonly previousChannels: number;
  /** `layers_per_block`; an up block has one more, but for KUpBlock2D. */
  readonly layers: number;
  /** False in the last block. */
  readonly upsample: boolean;
  readonly style: UNetStyle;
  readonly upsampleType: "conv" | "resnet";
  readonly headDim: number;
  /** Whether a Skip block before this one hands a picture over. */
  readonly takesSkip: boolean;
}

/**
 * One up block. Its forward takes `x, temb`, a Skip block then `skip` if `takesSkip`, then the residuals in the order in which
 * they are used: one for each of {@link upInputs}. It returns `x`; a Skip block that has a skip: `x, skip`.
 */
export function upBlock(options: UpBlockOptions): ModuleSpec {
  if (options.type === "KUpBlock2D") return kUpBlock(options);
  if (isSkip(options.type)) return skipUpBlock(options);
  return plainUpBlock(options);
}

/** Channels of the features and of the residual that each layer concatenates, in order. */
export function upInputs(
  options: Pick<UpBlockOptions, "type" | "inChannels" | "outChannels" | "previousChannels" | "layers">,
): [features: number, residual: number][] {
  const { type, inChannels, outChannels, previousChannels, layers } = options;
  if (type === "KUpBlock2D") return [[outChannels, outChannels]];
  return range(layers + 1).map((i) => [
    i === 0 ? previousChannels : outChannels,
    i === layers ? inChannels : outChannels,
  ]);
}

/** @see diffusers UpBlock2D, AttnUpBlock2D, ResnetUpsampleBlock2D */
function plainUpBlock(options: UpBlockOptions): ModuleSpec {
  const { type, outChannels, upsample, style, headDim } = options;
  const inputs = upInputs(options);
  const resnets = inputs.map(([features, residual]) =>
    resnetBlock2d({ inChannels: features + residual, outChannels, style }),
  );
  const attentions = range(hasAttention(options) ? inputs.length : 0).map(() =>
    attention({ channels: outChannels, headDim, groups: style.groups, eps: style.eps }),
  );
  const upsampler = upsamplesByResnet(options)
    ? resnetBlock2d({ inChannels: outChannels, outChannels, style, resampling: "up" })
    : upsample2d(outChannels);
  return moduleSpec(type, {
    children: [
      hasAttention(options) && ["attentions", moduleList(attentions)],
      ["resnets", moduleList(resnets)],
      upsample && ["upsamplers", moduleList([upsampler])],
    ],
    methods: [
      method(
        `forward(self, x: Tensor, temb: Tensor, ${residualArguments(inputs.length)}) -> Tensor`,
        shapes(options),
        inputs.map((_, i) => plainUpLayer(options, i, { block: "self", residual: `r${int(i)}`, temb: "temb" })),
        "return x",
      ),
    ],
  });
}

/** Whether the block is one of those whose layers {@link plainUpLayer} writes. */
export function isPlainUp(type: UpBlockType): boolean {
  return type === "UpBlock2D" || type === "AttnUpBlock2D" || type === "ResnetUpsampleBlock2D";
}

/**
 * Write layer `index` of a plain block: from `x` to `x`. The last layer includes the upsampling.
 * @param names expressions for the block, the layer's residual and the time embedding
 */
export function plainUpLayer(
  options: UpBlockOptions,
  index: number,
  { block, residual, temb }: { readonly block: string; readonly residual: string; readonly temb: string },
): string[] {
  const upsamples = options.upsample && index === upInputs(options).length - 1;
  return [
    `x = ${callItem(`${block}.resnets`, index, `torch.cat([x, ${residual}], 1)`, temb)}`,
    ...(hasAttention(options) ? [`x = ${callItem(`${block}.attentions`, index, "x")}`] : []),
    ...(upsamples
      ? [`x = ${callItem(`${block}.upsamplers`, 0, ...(upsamplesByResnet(options) ? ["x", temb] : ["x"]))}`]
      : []),
  ];
}

function hasAttention({ type }: UpBlockOptions): boolean {
  return type === "AttnUpBlock2D";
}

function upsamplesByResnet({ type, upsampleType }: UpBlockOptions): boolean {
  return type === "ResnetUpsampleBlock2D" || (type === "AttnUpBlock2D" && upsampleType === "resnet");
}

/** @see diffusers SkipUpBlock2D, AttnSkipUpBlock2D */
function skipUpBlock(options: UpBlockOptions): ModuleSpec {
  const { type, outChannels, upsample, style, headDim, takesSkip } = options;
  const withAttention = type === "AttnSkipUpBlock2D";
  const groupsOut = skipGroups(outChannels);
  const own = { outputScaleFactor: Math.SQRT2, groupsKey: "block_out_channels" };
  const inputs = upInputs(options);
  const resnets = inputs.map(([features, residual]) => {
    // AttnSkipUpBlock2D divides the second term only, by an oversight that its checkpoints are trained with.
    const groups = withAttention ? Math.min(features + Math.floor(residual / 4), 32) : skipGroups(features + residual);
    return resnetBlock2d({
      ...own,
      inChannels: features + residual,
      outChannels,
      style: { ...style, groups },
      groupsOut,
    });
  });
  const returnsSkip = takesSkip || upsample;
  return moduleSpec(type, {
    children: [
      withAttention && [
        "attentions",
        moduleList([attention({ ...own, channels: outChannels, headDim, groups: 32, eps: style.eps })]),
      ],
      ["resnets", moduleList(resnets)],
      ["upsampler", firResample("firUp")],
      upsample && [
        "resnet_up",
        resnetBlock2d({
          ...own,
          inChannels: outChannels,
          outChannels,
          style: { ...style, groups: groupsOut },
          resampling: "firUp",
          useShortcut: true,
        }),
      ],
      upsample && ["skip_conv", conv2d(outChannels, 3, { kernel: 3, padding: 1 })],
      upsample && [
        "skip_norm",
        groupNorm(outChannels, { groups: groupsOut, eps: style.eps, key: "block_out_channels" }),
      ],
    ],
    methods: [
      method(
        `forward(self, x: Tensor, temb: Tensor, ${takesSkip ? "skip: Tensor, " : ""}${residualArguments(inputs.length)}) -> ${returnsSkip ? tuple(2) : "Tensor"}`,
        shapes(options),
        inputs.map((_, i) => `x = ${callItem("self.resnets", i, `torch.cat([x, r${int(i)}], 1)`, "temb")}`),
        withAttention && `x = ${callItem("self.attentions", 0, "x")}`,
        takesSkip && "skip = self.upsampler.forward(skip)  # [batch, 3, height, width]",
        upsample && [
          "s = self.skip_conv.forward(torch.silu(self.skip_norm.forward(x)))",
          // Without a skip diffusers adds the number 0, which turns a negative zero into a positive one.
          takesSkip ? "skip = skip + s" : "skip = s + 0",
          "x = self.resnet_up.forward(x, temb)",
        ],
        returnsSkip ? "return x, skip" : "return x",
      ),
    ],
  });
}

/** @see diffusers KUpBlock2D */
function kUpBlock(options: UpBlockOptions): ModuleSpec {
  const { type, inChannels, outChannels, layers, upsample, style } = options;
  const resnets = range(layers).map((i) => {
    const channels = i === 0 ? 2 * outChannels : outChannels;
    return kResnetBlock2d({
      inChannels: channels,
      outChannels: i === layers - 1 ? inChannels : outChannels,
      timeChannels: style.timeChannels,
      eps: style.eps,
      activation: style.activation,
      groups: Math.floor(channels / 32),
      groupsOut: Math.floor(outChannels / 32),
    });
  });
  return moduleSpec(type, {
    children: [["resnets", moduleList(resnets)], upsample && ["upsamplers", moduleList([kResample("up")])]],
    methods: [
      method(
        "forward(self, x: Tensor, temb: Tensor, r0: Tensor) -> Tensor",
        shapes(options),
        "x = torch.cat([x, r0], 1)",
        resnets.map((_, i) => `x = ${callItem("self.resnets", i, "x", "temb")}`),
        upsample && `x = ${callItem("self.upsamplers", 0, "x")}`,
        "return x",
      ),
    ],
  });
}

function residualArguments(count: number): string {
  return residualNames(count)
    .map((name) => `${name}: Tensor`)
    .join(", ");
}

function shapes({ type, inChannels, outChannels, previousChannels, upsample }: UpBlockOptions): string {
  const [before, after] = type === "KUpBlock2D" ? [outChannels, inChannels] : [previousChannels, outChannels];
  return `# x [batch, ${int(before)}, height, width] -> [batch, ${int(after)}, ${upsample ? "height * 2, width * 2" : "height, width"}]`;
}
