"""Write a pipeline of ldm-celebahq-256's size, with random weights from a seed, in diffusers' layout.

Speed and memory do not depend on what the weights are, so nothing has to be downloaded.

    python bench/make_full_size.py --out FOLDER [--tiny]
"""

import argparse

import torch
from diffusers import DDIMScheduler, LDMPipeline, UNet2DModel, VQModel

FULL = {
    "unet": {"sample_size": 64, "block_out_channels": (224, 448, 672, 896), "attention_head_dim": 32},
    "vqvae": {"block_out_channels": (128, 256, 512), "num_vq_embeddings": 8192, "sample_size": 256},
}
# The same shape of network, for trying the benchmark itself.
TINY = {
    "unet": {"sample_size": 16, "block_out_channels": (32, 32, 64, 64), "attention_head_dim": 8},
    "vqvae": {"block_out_channels": (32, 32, 64), "num_vq_embeddings": 64, "sample_size": 64},
}


def build(sizes, seed):
    torch.manual_seed(seed)
    unet = UNet2DModel(
        in_channels=3,
        out_channels=3,
        layers_per_block=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        **sizes["unet"],
    )
    vqvae = VQModel(
        in_channels=3,
        out_channels=3,
        latent_channels=3,
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        scaling_factor=1.0,
        **sizes["vqvae"],
    )
    # A fresh codebook lies within 1/8192 of zero, where every latent has the same nearest code.
    torch.nn.init.normal_(vqvae.quantize.embedding.weight)
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.0015, beta_end=0.0195, clip_sample=False
    )
    return LDMPipeline(vqvae=vqvae, unet=unet, scheduler=scheduler)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    pipeline = build(TINY if arguments.tiny else FULL, arguments.seed)
    pipeline.save_pretrained(arguments.out, safe_serialization=True)
    for name in ("unet", "vqvae"):
        parameters = sum(tensor.numel() for tensor in getattr(pipeline, name).parameters())
        print(f"{name}: {parameters:,} parameters")


if __name__ == "__main__":
    main()
