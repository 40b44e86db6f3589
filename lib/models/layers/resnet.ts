import type { ModuleSpec } from "../../native/contract.js";
import { adaGroupNorm, conv2d, groupNorm, linear, spatialNorm } from "./basic.js";
import { resampleMethod, type Resampling } from "./resampling.js";
import { activate, type Activation, dividedBy, int, method, moduleSpec } from "../torchscript/source.js";

export type TimeScaleShift = "default" | "scale_shift";

/** What all residual blocks of one network share. */
export interface ResnetStyle {
  /** Size of the time embedding; null in an autoencoder. */
  readonly timeChannels: number | null;
  readonly timeScaleShift: TimeScaleShift;
  readonly groups: number;
  readonly eps: number;
  readonly activation: Activation;
}

interface ResnetBlockOptions {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly style: ResnetStyle;
  /** Groups of the second norm, where they are not the first's. */
  readonly groupsOut?: number;
  /** The config's key that the groups come from. */
  readonly groupsKey?: string;
  readonly outputScaleFactor?: number;
  readonly resampling?: Resampling;
  /** Default: where the channels change. */
  readonly useShortcut?: boolean;
}

/** Two convolutions with norms, the time embedding between them, and a shortcut. @see diffusers.models.resnet.ResnetBlock2D */
export function resnetBlock2d(options: ResnetBlockOptions): ModuleSpec {
  const { inChannels, outChannels, style, resampling, outputScaleFactor = 1, groupsKey = "norm_num_groups" } = options;
  const { timeChannels, timeScaleShift, groups, eps, activation } = style;
  const shortcut = options.useShortcut ?? inChannels !== outChannels;
  const scaled = timeChannels !== null && timeScaleShift === "scale_shift";
  const act = (expression: string): string => activate(activation, expression);
  return moduleSpec("ResnetBlock2D", {
    children: [
      ["norm1", groupNorm(inChannels, { groups, eps, key: groupsKey })],
      ["conv1", conv2d(inChannels, outChannels, { kernel: 3, padding: 1 })],
      timeChannels !== null && ["time_emb_proj", linear(timeChannels, scaled ? 2 * outChannels : outChannels)],
      ["norm2", groupNorm(outChannels, { groups: options.groupsOut ?? groups, eps, key: groupsKey })],
      ["conv2", conv2d(outChannels, outChannels, { kernel: 3, padding: 1 })],
      shortcut && ["conv_shortcut", conv2d(inChannels, outChannels, { kernel: 1 })],
    ],
    methods: [
      resampling !== undefined && resampleMethod("resample", resampling),
      method(
        `forward(self, x: Tensor${timeChannels === null ? "" : ", temb: Tensor"}) -> Tensor`,
        `# x [batch, ${int(inChannels)}, height, width] -> [batch, ${int(outChannels)}, ...]${timeChannels === null ? "" : `; temb [batch, ${int(timeChannels)}]`}`,
        `h = ${act("self.norm1.forward(x)")}`,
        resampling !== undefined && ["x = self.resample(x)", "h = self.resample(h)"],
        "h = self.conv1.forward(h)",
        timeChannels !== null &&
          `t = self.time_emb_proj.forward(${act("temb")})[:, :, None, None]  # [batch, ${int(scaled ? 2 * outChannels : outChannels)}, 1, 1]`,
        timeChannels !== null && !scaled && "h = h + t",
        scaled && "scale, shift = torch.chunk(t, 2, 1)",
        scaled ? "h = self.norm2.forward(h) * (scale + 1) + shift" : "h = self.norm2.forward(h)",
        `h = self.conv2.forward(${act("h")})`,
        shortcut && "x = self.conv_shortcut.forward(x)",
        `return ${dividedBy("x + h", outputScaleFactor)}`,
      ),
    ],
  });
}

interface CondNormOptions {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly activation: Activation;
  readonly norm1: ModuleSpec;
  readonly norm2: ModuleSpec;
  readonly shortcutBias: boolean;
}

function resnetBlockCondNorm2d({
  inChannels,
  outChannels,
  activation,
  norm1,
  norm2,
  shortcutBias,
}: CondNormOptions): ModuleSpec {
  const shortcut = inChannels !== outChannels;
  return moduleSpec("ResnetBlockCondNorm2D", {
    children: [
      ["norm1", norm1],
      ["conv1", conv2d(inChannels, outChannels, { kernel: 3, padding: 1 })],
      ["norm2", norm2],
      ["conv2", conv2d(outChannels, outChannels, { kernel: 3, padding: 1 })],
      shortcut && ["conv_shortcut", conv2d(inChannels, outChannels, { kernel: 1, bias: shortcutBias })],
    ],
    methods: [
      method(
        "forward(self, x: Tensor, cond: Tensor) -> Tensor",
        `# x [batch, ${int(inChannels)}, height, width] -> [batch, ${int(outChannels)}, height, width]`,
        `h = self.conv1.forward(${activate(activation, "self.norm1.forward(x, cond)")})`,
        `h = self.conv2.forward(${activate(activation, "self.norm2.forward(h, cond)")})`,
        shortcut && "x = self.conv_shortcut.forward(x)",
        "return x + h",
      ),
    ],
  });
}

interface KResnetOptions {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly timeChannels: number;
  readonly groups: number;
  readonly groupsOut: number;
  readonly eps: number;
  readonly activation: Activation;
}

/** The k-upscaler's residual block: its norms are modulated by the time embedding. @see diffusers.models.resnet.ResnetBlockCondNorm2D */
export function kResnetBlock2d(options: KResnetOptions): ModuleSpec {
  const { inChannels, outChannels, timeChannels, groups, groupsOut, eps, activation } = options;
  const key = "block_out_channels";
  return resnetBlockCondNorm2d({
    inChannels,
    outChannels,
    activation,
    shortcutBias: false,
    norm1: adaGroupNorm(timeChannels, inChannels, { groups, eps, key }),
    norm2: adaGroupNorm(timeChannels, outChannels, { groups: groupsOut, eps, key }),
  });
}

/** The residual block of a decoder with `norm_type` `"spatial"`: its norms are modulated by the latents. */
export function spatialResnetBlock2d(
  inChannels: number,
  outChannels: number,
  latentChannels: number,
  activation: Activation,
): ModuleSpec {
  return resnetBlockCondNorm2d({
    inChannels,
    outChannels,
    activation,
    shortcutBias: true,
    norm1: spatialNorm(inChannels, latentChannels),
    norm2: spatialNorm(outChannels, latentChannels),
  });
}
