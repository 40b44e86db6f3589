import type { ModuleSpec } from "../../native/contract.js";
import { attention } from "../layers/attention.js";
import { conv2d } from "../layers/basic.js";
import { downsample2d, firResample, kResample } from "../layers/resampling.js";
import { kResnetBlock2d, resnetBlock2d, type ResnetStyle } from "../layers/resnet.js";
import { callItem, int, method, moduleList, moduleSpec } from "../torchscript/source.js";
import type { DownBlockType } from "./config.js";

export interface DownBlockOptions {
  readonly type: DownBlockType;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly layers: number;
  /** False in the last block. */
  readonly downsample: boolean;
  readonly style: UNetStyle;
  readonly padding: 0 | 1;
  readonly downsampleType: "conv" | "resnet";
  readonly headDim: number;
}

/** Every UNet has a time embedding. */
export interface UNetStyle extends ResnetStyle {
  readonly timeChannels: number;
}

/** Skip blocks have groups of their own, whatever `norm_num_groups` says. */
export function skipGroups(channels: number): number {
  return Math.min(Math.floor(channels / 4), 32);
}

/**
 * One down block. Its forward takes `x, temb` (a Skip block: `x, temb, skip`) and returns `x` (and `skip`), followed by one
 * tensor for each of {@link downResiduals}.
 */
export function downBlock(options: DownBlockOptions): ModuleSpec {
  if (options.type === "KDownBlock2D") return kDownBlock(options);
  if (isSkip(options.type)) return skipDownBlock(options);
  return plainDownBlock(options);
}

/** How many tensors the block leaves for the up blocks. */
export function downResiduals({
  type,
  layers,
  downsample,
}: Pick<DownBlockOptions, "type" | "layers" | "downsample">): number {
  return downsample && type !== "KDownBlock2D" ? layers + 1 : layers;
}

/** Tell the blocks that carry a small picture beside the features. */
export function isSkip(type: string): boolean {
  return type.includes("Skip");
}

/** @see diffusers DownBlock2D, AttnDownBlock2D, ResnetDownsampleBlock2D */
function plainDownBlock(options: DownBlockOptions): ModuleSpec {
  const { type, inChannels, outChannels, layers, downsample, style, padding, headDim } = options;
  const resnets = range(layers).map((i) =>
    resnetBlock2d({ inChannels: i === 0 ? inChannels : outChannels, outChannels, style }),
  );
  const attentions = range(hasAttention(options) ? layers : 0).map(() =>
    attention({ channels: outChannels, headDim, groups: style.groups, eps: style.eps }),
  );
  const downsampler = downsamplesByResnet(options)
    ? resnetBlock2d({ inChannels: outChannels, outChannels, style, resampling: "down" })
    : downsample2d(outChannels, padding);
  return moduleSpec(type, {
    children: [
      hasAttention(options) && ["attentions", moduleList(attentions)],
      ["resnets", moduleList(resnets)],
      downsample && ["downsamplers", moduleList([downsampler])],
    ],
    methods: [
      method(
        `forward(self, x: Tensor, temb: Tensor) -> ${tuple(1 + downResiduals(options))}`,
        shapes(options),
        range(downResiduals(options)).map((i) => [
          ...plainDownLayer(options, i, { block: "self", temb: "temb" }),
          `r${int(i)} = x`,
        ]),
        `return ${["x", ...residualNames(downResiduals(options))].join(", ")}`,
      ),
    ],
  });
}

/** Whether the block is one of those whose layers {@link plainDownLayer} writes. */
export function isPlainDown(type: DownBlockType): boolean {
  return type === "DownBlock2D" || type === "AttnDownBlock2D" || type === "ResnetDownsampleBlock2D";
}

/**
 * Write what makes residual `index` of a plain block: from `x` to `x`. The last one is the downsampling, where there is one.
 * @param names expressions for the block and the time embedding
 */
export function plainDownLayer(
  options: DownBlockOptions,
  index: number,
  { block, temb }: { readonly block: string; readonly temb: string },
): string[] {
  if (index === options.layers)
    return [`x = ${callItem(`${block}.downsamplers`, 0, ...(downsamplesByResnet(options) ? ["x", temb] : ["x"]))}`];
  return [
    `x = ${callItem(`${block}.resnets`, index, "x", temb)}`,
    ...(hasAttention(options) ? [`x = ${callItem(`${block}.attentions`, index, "x")}`] : []),
  ];
}

function hasAttention({ type }: DownBlockOptions): boolean {
  return type === "AttnDownBlock2D";
}

function downsamplesByResnet({ type, downsampleType }: DownBlockOptions): boolean {
  return type === "ResnetDownsampleBlock2D" || (type === "AttnDownBlock2D" && downsampleType === "resnet");
}

/** @see diffusers SkipDownBlock2D, AttnSkipDownBlock2D */
function skipDownBlock(options: DownBlockOptions): ModuleSpec {
  const { type, inChannels, outChannels, layers, downsample, style, headDim } = options;
  const withAttention = type === "AttnSkipDownBlock2D";
  const groupsOut = skipGroups(outChannels);
  const own = { outputScaleFactor: Math.SQRT2, groupsKey: "block_out_channels" };
  const resnets = range(layers).map((i) => {
    const channels = i === 0 ? inChannels : outChannels;
    return resnetBlock2d({
      ...own,
      inChannels: channels,
      outChannels,
      style: { ...style, groups: skipGroups(channels) },
      groupsOut,
    });
  });
  const attentions = range(withAttention ? layers : 0).map(() =>
    attention({ ...own, channels: outChannels, headDim, groups: 32, eps: style.eps }),
  );
  return moduleSpec(type, {
    children: [
      withAttention && ["attentions", moduleList(attentions)],
      ["resnets", moduleList(resnets)],
      downsample && [
        "resnet_down",
        resnetBlock2d({
          ...own,
          inChannels: outChannels,
          outChannels,
          style: { ...style, groups: groupsOut },
          resampling: "firDown",
          useShortcut: true,
        }),
      ],
      downsample && ["downsamplers", moduleList([firResample("firDown")])],
      downsample && ["skip_conv", conv2d(3, outChannels, { kernel: 1 })],
    ],
    methods: [
      method(
        `forward(self, x: Tensor, temb: Tensor, skip: Tensor) -> ${tuple(2 + downResiduals(options))}`,
        shapes(options),
        resnets.map((_, i) => [
          `x = ${callItem("self.resnets", i, "x", "temb")}`,
          withAttention && `x = ${callItem("self.attentions", i, "x")}`,
          `r${int(i)} = x`,
        ]),
        downsample && [
          "x = self.resnet_down.forward(x, temb)",
          `skip = ${callItem("self.downsamplers", 0, "skip")}  # [batch, 3, height / 2, width / 2]`,
          "x = self.skip_conv.forward(skip) + x",
          `r${int(layers)} = x`,
        ],
        `return ${["x", "skip", ...residualNames(downResiduals(options))].join(", ")}`,
      ),
    ],
  });
}

/** @see diffusers KDownBlock2D */
function kDownBlock(options: DownBlockOptions): ModuleSpec {
  const { type, inChannels, outChannels, layers, downsample, style } = options;
  const resnets = range(layers).map((i) => {
    const channels = i === 0 ? inChannels : outChannels;
    return kResnetBlock2d({
      inChannels: channels,
      outChannels,
      timeChannels: style.timeChannels,
      eps: style.eps,
      activation: style.activation,
      groups: Math.floor(channels / 32),
      groupsOut: Math.floor(outChannels / 32),
    });
  });
  return moduleSpec(type, {
    children: [["resnets", moduleList(resnets)], downsample && ["downsamplers", moduleList([kResample("down")])]],
    methods: [
      method(
        `forward(self, x: Tensor, temb: Tensor) -> ${tuple(1 + layers)}`,
        shapes(options),
        resnets.map((_, i) => [`x = ${callItem("self.resnets", i, "x", "temb")}`, `r${int(i)} = x`]),
        downsample && `x = ${callItem("self.downsamplers", 0, "x")}`,
        `return ${["x", ...residualNames(layers)].join(", ")}`,
      ),
    ],
  });
}

function shapes({ inChannels, outChannels, downsample }: DownBlockOptions): string {
  return `# x [batch, ${int(inChannels)}, height, width] -> [batch, ${int(outChannels)}, ${downsample ? "height / 2, width / 2" : "height, width"}]`;
}

/** The names of what a block leaves: r0, r1, ... */
export function residualNames(count: number): string[] {
  return range(count).map((i) => `r${int(i)}`);
}

/** The type of `count` tensors. */
export function tuple(count: number): string {
  if (count === 1) return "Tensor";
  return `Tuple[${range(count)
    .map(() => "Tensor")
    .join(", ")}]`;
}

/** 0, 1, ... below `count`. */
export function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
