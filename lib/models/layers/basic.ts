import type { ModuleSpec } from "../../native/contract.js";
import { unsupported } from "../../config/fields.js";
import { float, int, method, moduleSpec } from "../torchscript/source.js";

interface Conv2dOptions {
  readonly kernel: 1 | 3;
  readonly stride?: 1 | 2;
  readonly padding?: 0 | 1;
  readonly bias?: boolean;
}

/** A convolution. @see torch.nn.Conv2d */
export function conv2d(
  inChannels: number,
  outChannels: number,
  { kernel, stride = 1, padding = 0, bias = true }: Conv2dOptions,
): ModuleSpec {
  const weight = ["weight", [outChannels, inChannels, kernel, kernel]] as const;
  return moduleSpec("Conv2d", {
    parameters: bias ? [weight, ["bias", [outChannels]]] : [weight],
    methods: [
      method(
        "forward(self, x: Tensor) -> Tensor",
        `# x [batch, ${int(inChannels)}, height, width] -> [batch, ${int(outChannels)}, ...]`,
        `return torch.conv2d(x, self.weight, ${bias ? "self.bias" : "None"}, [${stride}, ${stride}], [${padding}, ${padding}], [1, 1], 1)`,
      ),
    ],
  });
}

/** A fully connected layer. @see torch.nn.Linear */
export function linear(inFeatures: number, outFeatures: number): ModuleSpec {
  return moduleSpec("Linear", {
    parameters: [
      ["weight", [outFeatures, inFeatures]],
      ["bias", [outFeatures]],
    ],
    methods: [
      method(
        "forward(self, x: Tensor) -> Tensor",
        `# x [..., ${int(inFeatures)}] -> [..., ${int(outFeatures)}]`,
        "return torch.linear(x, self.weight, self.bias)",
      ),
    ],
  });
}

/** A table of vectors. @see torch.nn.Embedding */
export function embedding(count: number, size: number, name: "Embedding" | "Codebook" = "Embedding"): ModuleSpec {
  return moduleSpec(name, {
    parameters: [["weight", [count, size]]],
    methods: [
      method(
        "forward(self, indices: Tensor) -> Tensor",
        `# indices [...] -> [..., ${int(size)}]`,
        "return torch.embedding(self.weight, indices)",
      ),
    ],
  });
}

interface GroupNormOptions {
  readonly groups: number;
  readonly eps: number;
  /** The config's key that is to blame where the groups do not divide the channels. */
  readonly key: string;
}

/**
 * Normalisation in groups of channels, with weight and bias.
 * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` where the groups do not divide the channels, as in PyTorch
 * @see torch.nn.GroupNorm
 */
export function groupNorm(channels: number, { groups, eps, key }: GroupNormOptions): ModuleSpec {
  checkGroups(channels, groups, key);
  return moduleSpec("GroupNorm", {
    parameters: [
      ["weight", [channels]],
      ["bias", [channels]],
    ],
    methods: [
      method(
        "forward(self, x: Tensor) -> Tensor",
        `# x [batch, ${int(channels)}, ...], in ${int(groups)} groups`,
        `return torch.group_norm(x, ${int(groups)}, self.weight, self.bias, ${float(eps)}, True)`,
      ),
    ],
  });
}

/** Group norm whose scale and shift come from the time embedding. @see diffusers.models.normalization.AdaGroupNorm */
export function adaGroupNorm(
  embeddingSize: number,
  channels: number,
  { groups, eps, key }: GroupNormOptions,
): ModuleSpec {
  checkGroups(channels, groups, key);
  return moduleSpec("AdaGroupNorm", {
    children: [["linear", linear(embeddingSize, 2 * channels)]],
    methods: [
      method(
        "forward(self, x: Tensor, emb: Tensor) -> Tensor",
        `# x [batch, ${int(channels)}, height, width], emb [batch, ${int(embeddingSize)}]`,
        "scale, shift = torch.chunk(self.linear.forward(emb)[:, :, None, None], 2, 1)",
        `x = torch.group_norm(x, ${int(groups)}, None, None, ${float(eps)}, True)`,
        "return x * (scale + 1) + shift",
      ),
    ],
  });
}

/** Group norm modulated by the latents, stretched to the picture's size. @see diffusers.models.attention_processor.SpatialNorm */
export function spatialNorm(channels: number, latentChannels: number): ModuleSpec {
  return moduleSpec("SpatialNorm", {
    children: [
      ["norm_layer", groupNorm(channels, { groups: 32, eps: 1e-6, key: "block_out_channels" })],
      ["conv_y", conv2d(latentChannels, channels, { kernel: 1 })],
      ["conv_b", conv2d(latentChannels, channels, { kernel: 1 })],
    ],
    methods: [
      method(
        "forward(self, x: Tensor, latents: Tensor) -> Tensor",
        `# x [batch, ${int(channels)}, height, width], latents [batch, ${int(latentChannels)}, h, w]`,
        "latents = torch.upsample_nearest2d(latents, [x.shape[2], x.shape[3]], None)",
        "return self.norm_layer.forward(x) * self.conv_y.forward(latents) + self.conv_b.forward(latents)",
      ),
    ],
  });
}

/** As PyTorch's constructor (and AdaGroupNorm's forward) do. The groups of some blocks are made from their channels. */
function checkGroups(channels: number, groups: number, key: string): void {
  if (groups >= 1 && channels % groups === 0) return;
  if (key === "block_out_channels")
    throw unsupported(
      key,
      `channels that fall into ${Math.max(groups, 1)} groups (and at least 32 in a K block, 4 in a Skip block)`,
      channels,
    );
  throw unsupported(key, `a divisor of ${channels}, the channels of a norm`, groups);
}
