import type { ModuleSpec } from "../../native/contract.js";
import { attention } from "./attention.js";
import { unsupported } from "../../config/fields.js";
import { midBlock } from "./mid-block.js";
import { downsample2d, upsample2d } from "./resampling.js";
import { resnetBlock2d, spatialResnetBlock2d } from "./resnet.js";
import { type Activation, callItem, int, method, moduleList, moduleSpec } from "../torchscript/source.js";

/** What the blocks of one autoencoder share. */
export interface AutoencoderStyle {
  readonly groups: number;
  readonly activation: Activation;
  /** Channels of the latents that the norms take; null with `norm_type` `"group"`. */
  readonly latentChannels: number | null;
}

const EPS = 1e-6;

interface BlockOptions {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly layers: number;
  readonly withAttention: boolean;
  /** False in the last block. */
  readonly resample: boolean;
  readonly style: AutoencoderStyle;
}

/** @see diffusers DownEncoderBlock2D, AttnDownEncoderBlock2D */
export function encoderBlock(options: BlockOptions): ModuleSpec {
  const name = options.withAttention ? "AttnDownEncoderBlock2D" : "DownEncoderBlock2D";
  return block(name, options, ["downsamplers", () => downsample2d(options.outChannels, 0)]);
}

/** @see diffusers UpDecoderBlock2D, AttnUpDecoderBlock2D */
export function decoderBlock(options: BlockOptions): ModuleSpec {
  const name = options.withAttention ? "AttnUpDecoderBlock2D" : "UpDecoderBlock2D";
  return block(name, options, ["upsamplers", () => upsample2d(options.outChannels)]);
}

function block(
  name: string,
  options: BlockOptions,
  [resamplers, resampler]: readonly [string, () => ModuleSpec],
): ModuleSpec {
  const { inChannels, outChannels, layers, withAttention, resample, style } = options;
  if (layers === 0 && inChannels !== outChannels) {
    throw unsupported(
      "layers_per_block",
      `at least 1 where the channels change from ${inChannels} to ${outChannels}`,
      layers,
    );
  }
  const indices = Array.from({ length: layers }, (_, i) => i);
  const resnets = indices.map((i) => resnet(i === 0 ? inChannels : outChannels, outChannels, style));
  const args = style.latentChannels === null ? ["x"] : ["x", "latents"];
  return moduleSpec(name, {
    children: [
      withAttention && ["attentions", moduleList(indices.map(() => attend(outChannels, style)))],
      ["resnets", moduleList(resnets)],
      resample && [resamplers, moduleList([resampler()])],
    ],
    methods: [
      method(
        `forward(self, ${args.map((arg) => `${arg}: Tensor`).join(", ")}) -> Tensor`,
        `# x [batch, ${int(inChannels)}, height, width] -> [batch, ${int(outChannels)}, ...]`,
        indices.map((i) => [
          `x = ${callItem("self.resnets", i, ...args)}`,
          withAttention && `x = ${callItem("self.attentions", i, ...args)}`,
        ]),
        resample && `x = ${callItem(`self.${resamplers}`, 0, "x")}`,
        "return x",
      ),
    ],
  });
}

/** The middle of the encoder and of the decoder. */
export function autoencoderMidBlock(channels: number, addAttention: boolean, style: AutoencoderStyle): ModuleSpec {
  return midBlock({
    channels,
    condition: style.latentChannels === null ? null : "latents",
    resnet: () => resnet(channels, channels, style),
    attention: addAttention ? attend(channels, style) : null,
  });
}

function resnet(
  inChannels: number,
  outChannels: number,
  { groups, activation, latentChannels }: AutoencoderStyle,
): ModuleSpec {
  if (latentChannels !== null) return spatialResnetBlock2d(inChannels, outChannels, latentChannels, activation);
  return resnetBlock2d({
    inChannels,
    outChannels,
    style: { timeChannels: null, timeScaleShift: "default", groups, eps: EPS, activation },
  });
}

/** One head over all channels. */
function attend(channels: number, { groups, latentChannels }: AutoencoderStyle): ModuleSpec {
  return attention({
    channels,
    headDim: channels,
    groups: latentChannels === null ? groups : null,
    latentChannels,
    eps: EPS,
  });
}
