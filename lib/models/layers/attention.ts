import type { ModuleSpec } from "../../native/contract.js";
import { unsupported } from "../../config/fields.js";
import { groupNorm, linear, spatialNorm } from "./basic.js";
import { dividedBy, int, method, moduleList, moduleSpec } from "../torchscript/source.js";

interface AttentionOptions {
  readonly channels: number;
  readonly headDim: number;
  /** Null: no group norm. */
  readonly groups: number | null;
  readonly groupsKey?: string;
  /** Channels of the latents that a spatial norm takes; null: no spatial norm. */
  readonly latentChannels?: number | null;
  readonly eps: number;
  readonly outputScaleFactor?: number;
}

/**
 * Self-attention over the pixels, with a residual connection.
 * @see diffusers.models.attention_processor.Attention, AttnProcessor2_0
 */
export function attention(options: AttentionOptions): ModuleSpec {
  const {
    channels,
    headDim,
    groups,
    latentChannels = null,
    eps,
    outputScaleFactor = 1,
    groupsKey = "norm_num_groups",
  } = options;
  const heads = Math.floor(channels / headDim);
  if (heads === 0)
    throw unsupported(
      "attention_head_dim",
      `a number of at most ${channels}, the channels of a block with attention`,
      headDim,
    );
  const inner = heads * headDim;
  const project = (name: string): string =>
    `${name} = self.to_${name}.forward(h).view(batch, -1, ${int(heads)}, ${int(headDim)}).transpose(1, 2)  # [batch, ${int(heads)}, pixels, ${int(headDim)}]`;
  return moduleSpec("Attention", {
    children: [
      groups !== null && ["group_norm", groupNorm(channels, { groups, eps, key: groupsKey })],
      latentChannels !== null && ["spatial_norm", spatialNorm(channels, latentChannels)],
      ["to_q", linear(channels, inner)],
      ["to_k", linear(channels, inner)],
      ["to_v", linear(channels, inner)],
      ["to_out", moduleList([linear(inner, channels)])],
    ],
    methods: [
      method(
        `forward(self, x: Tensor${latentChannels === null ? "" : ", latents: Tensor"}) -> Tensor`,
        `batch, channels, height, width = x.shape  # channels: ${int(channels)}`,
        `h = ${latentChannels === null ? "x" : "self.spatial_norm.forward(x, latents)"}`,
        "h = h.view(batch, channels, height * width).transpose(1, 2)  # [batch, pixels, channels]",
        groups !== null && "h = self.group_norm.forward(h.transpose(1, 2)).transpose(1, 2)",
        project("q"),
        project("k"),
        project("v"),
        "h = torch.scaled_dot_product_attention(q, k, v, None, 0.0, False)",
        `h = h.transpose(1, 2).reshape(batch, -1, ${int(inner)})  # [batch, pixels, ${int(inner)}]`,
        'h = getattr(self.to_out, "0").forward(h)',
        "h = h.transpose(-1, -2).reshape(batch, channels, height, width)",
        `return ${dividedBy("h + x", outputScaleFactor)}`,
      ),
    ],
  });
}
