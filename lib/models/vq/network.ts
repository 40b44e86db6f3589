import type { ModuleSpec } from "../../native/contract.js";
import {
  autoencoderMidBlock,
  type AutoencoderStyle,
  decoderBlock,
  encoderBlock,
} from "../layers/autoencoder-blocks.js";
import { unsupported } from "../../config/fields.js";
import { conv2d, embedding, groupNorm, spatialNorm } from "../layers/basic.js";
import { callItem, int, method, moduleList, moduleSpec } from "../torchscript/source.js";
import { activationOf } from "../unet-2d/config.js";
import type { VQConfig } from "./config.js";

/** Size of one code. */
export function codeSize({ vq_embed_dim, latent_channels }: VQConfig): number {
  return vq_embed_dim ?? latent_channels;
}

/** How often the encoder halves the picture. */
export function halvingsOf({ down_block_types, block_out_channels }: VQConfig): number {
  return Math.min(down_block_types.length, block_out_channels.length - 1);
}

/**
 * The methods that make a picture from quantised latents, in order. The first one takes the latents; each other one takes the result of the
 * one before and the latents.
 */
export function decodeStagesOf(config: VQConfig): readonly string[] {
  return ["decode_start", ...upStages(config), "decode_end"];
}

/**
 * Write the network of a checked config. Its methods: `forward`, `encode`, `decode`; for callers that want to stop between them
 * `quantize_latents` and the {@link decodeStagesOf}, whose sequence is `decode`; with `lookup_from_codebook` also `lookup_codes`.
 * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` where the blocks do not fit together
 * @see diffusers.VQModel
 */
export function vqNetwork(config: VQConfig): ModuleSpec {
  const { latent_channels, num_vq_embeddings, norm_type } = config;
  const embedDim = codeSize(config);
  const style = { groups: config.norm_num_groups, activation: activationOf(config.act_fn) };
  const spatial = norm_type === "spatial";
  return moduleSpec("VQModel", {
    children: [
      ["encoder", encoder(config, { ...style, latentChannels: null })],
      ["quant_conv", conv2d(latent_channels, embedDim, { kernel: 1 })],
      ["quantize", vectorQuantizer(num_vq_embeddings, embedDim)],
      ["post_quant_conv", conv2d(embedDim, latent_channels, { kernel: 1 })],
      ["decoder", decoder(config, { ...style, latentChannels: spatial ? latent_channels : null })],
    ],
    methods: [
      method("encode(self, x: Tensor) -> Tensor", "return self.quant_conv.forward(self.encoder.forward(x))"),
      quantizeMethods(config, embedDim),
      decodeMethods(config, embedDim),
      method("forward(self, x: Tensor) -> Tensor", "return self.decode(self.encode(x))"),
    ],
  });
}

function upStages({ up_block_types }: VQConfig): string[] {
  return up_block_types.map((_, i) => `decode_up_${int(i)}`);
}

function quantizeMethods({ lookup_from_codebook }: VQConfig, embedDim: number): readonly (readonly string[])[] {
  const quantize = method("quantize_latents(self, latents: Tensor) -> Tensor", "return self.quantize.forward(latents)");
  if (!lookup_from_codebook) return [quantize];
  return [
    quantize,
    method(
      "lookup_codes(self, codes: Tensor) -> Tensor",
      `# codes [batch, height, width] -> [batch, ${int(embedDim)}, height, width]`,
      "return self.quantize.embedding.forward(codes).permute(0, 3, 1, 2).contiguous()",
    ),
  ];
}

/** The stages, and `decode`, which is their sequence. Only a spatial norm looks at the latents after the start. */
function decodeMethods(config: VQConfig, embedDim: number): readonly (readonly string[])[] {
  const latents = config.norm_type === "spatial" ? ", latents" : "";
  const ups = upStages(config);
  return [
    method(
      "decode_start(self, latents: Tensor) -> Tensor",
      "x = self.decoder.conv_in.forward(self.post_quant_conv.forward(latents))",
      `return self.decoder.mid_block.forward(x${latents})`,
    ),
    ...ups.map((name, i) =>
      method(
        `${name}(self, x: Tensor, latents: Tensor) -> Tensor`,
        `return ${callItem("self.decoder.up_blocks", i, `x${latents}`)}`,
      ),
    ),
    method(
      "decode_end(self, x: Tensor, latents: Tensor) -> Tensor",
      `return self.decoder.conv_out.forward(torch.silu(self.decoder.conv_norm_out.forward(x${latents})))`,
    ),
    method(
      "decode(self, latents: Tensor) -> Tensor",
      `# latents [batch, ${int(embedDim)}, height, width] -> [batch, ${int(config.out_channels)}, ...]`,
      "latents = self.quantize_latents(latents)",
      "x = self.decode_start(latents)",
      ups.map((name) => `x = self.${name}(x, latents)`),
      "return self.decode_end(x, latents)",
    ),
  ];
}

/** The nearest vector of the codebook for each pixel. @see diffusers.models.autoencoders.vae.VectorQuantizer */
function vectorQuantizer(count: number, size: number): ModuleSpec {
  return moduleSpec("VectorQuantizer", {
    children: [["embedding", embedding(count, size, "Codebook")]],
    methods: [
      method(
        "forward(self, z: Tensor) -> Tensor",
        `# z [batch, ${int(size)}, height, width]`,
        `z = z.permute(0, 2, 3, 1).contiguous()  # [batch, height, width, ${int(size)}]`,
        // For 16-bit floats LibTorch has the way by matrix product only, which it does not take by itself for 25 points or fewer.
        "mode = 1 if z.element_size() == 2 else 0",
        `distances = torch.cdist(z.view(-1, ${int(size)}), self.embedding.weight, 2.0, mode)  # [pixels, ${int(count)}]`,
        "nearest = self.embedding.forward(torch.argmin(distances, 1)).view(z.shape)",
        // Not `nearest`: the straight-through sum rounds, and diffusers decodes the rounded values.
        "z = z + (nearest - z)",
        "return z.permute(0, 3, 1, 2).contiguous()",
      ),
    ],
  });
}

function encoder(config: VQConfig, style: AutoencoderStyle): ModuleSpec {
  const { block_out_channels: channels, down_block_types, layers_per_block: layers, norm_num_groups: groups } = config;
  const base = channels[0] ?? 0;
  const top = channels.at(-1) ?? 0;
  const blocks = down_block_types.map((type, i) =>
    encoderBlock({
      inChannels: channels[Math.max(i - 1, 0)] ?? 0,
      outChannels: channels[i] ?? 0,
      layers,
      style,
      withAttention: type.includes("Attn"),
      resample: i < channels.length - 1,
    }),
  );
  checkLast("down_block_types", config, channels[down_block_types.length - 1], top);
  return moduleSpec("Encoder", {
    children: [
      ["conv_in", conv2d(config.in_channels, base, { kernel: 3, padding: 1 })],
      ["down_blocks", moduleList(blocks)],
      ["mid_block", autoencoderMidBlock(top, config.mid_block_add_attention, style)],
      ["conv_norm_out", groupNorm(top, { groups, eps: 1e-6, key: "norm_num_groups" })],
      ["conv_out", conv2d(top, config.latent_channels, { kernel: 3, padding: 1 })],
    ],
    methods: [
      method(
        "forward(self, x: Tensor) -> Tensor",
        `# x [batch, ${int(config.in_channels)}, height, width] -> [batch, ${int(config.latent_channels)}, ...]`,
        "x = self.conv_in.forward(x)",
        blocks.map((_, i) => `x = ${callItem("self.down_blocks", i, "x")}`),
        "x = self.mid_block.forward(x)",
        "return self.conv_out.forward(torch.silu(self.conv_norm_out.forward(x)))",
      ),
    ],
  });
}

/** The decoder's parts; the root's stages call them one by one, so it has no forward of its own. */
function decoder(config: VQConfig, style: AutoencoderStyle): ModuleSpec {
  const { latentChannels } = style;
  const channels = [...config.block_out_channels].reverse();
  const top = channels[0] ?? 0;
  const base = channels.at(-1) ?? 0;
  const blocks = config.up_block_types.map((type, i) =>
    decoderBlock({
      inChannels: channels[Math.max(i - 1, 0)] ?? 0,
      outChannels: channels[i] ?? 0,
      layers: config.layers_per_block + 1,
      style,
      withAttention: type.includes("Attn"),
      resample: i < channels.length - 1,
    }),
  );
  checkLast("up_block_types", config, channels[config.up_block_types.length - 1], base);
  return moduleSpec("Decoder", {
    children: [
      ["conv_in", conv2d(config.latent_channels, top, { kernel: 3, padding: 1 })],
      ["mid_block", autoencoderMidBlock(top, config.mid_block_add_attention, style)],
      ["up_blocks", moduleList(blocks)],
      [
        "conv_norm_out",
        latentChannels === null
          ? groupNorm(base, { groups: config.norm_num_groups, eps: 1e-6, key: "norm_num_groups" })
          : spatialNorm(base, latentChannels),
      ],
      ["conv_out", conv2d(base, config.out_channels, { kernel: 3, padding: 1 })],
    ],
  });
}

/** Fewer blocks than levels run in diffusers where the channels happen to fit. */
function checkLast(
  key: "down_block_types" | "up_block_types",
  config: VQConfig,
  found: number | undefined,
  expected: number,
): void {
  if (found === expected) return;
  throw unsupported(
    key,
    `${config.block_out_channels.length} block types, one for each of block_out_channels`,
    config[key],
  );
}
