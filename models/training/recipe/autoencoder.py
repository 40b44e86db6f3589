"""The vector-quantised autoencoder: its parts, its losses, its quality."""

import torch
from diffusers import VQModel
from torch.nn import functional as F

from . import data
from .run import Run, autocast
from .settings import Autoencoder

#: Parts of a batch: more than threads, so that a thread whose core is taken holds up little.
PARTS = 4


def build(settings: Autoencoder) -> VQModel:
    """A fresh `VQModel` of the recipe's size."""
    levels = len(settings.channels)
    return VQModel(
        in_channels=3,
        out_channels=3,
        sample_size=64,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=settings.channels,
        layers_per_block=settings.layers,
        latent_channels=settings.latent_channels,
        vq_embed_dim=settings.latent_channels,
        num_vq_embeddings=settings.codes,
        norm_num_groups=settings.groups,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )


def encode(model: VQModel, pictures: torch.Tensor) -> torch.Tensor:
    """Latents before quantisation, float32 [batch, 3, 16, 16]."""
    return model.encode(pictures).latents.float()


def quantise(model: VQModel, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest codes, [batch, 3, 16, 16], and their numbers; the search is in float32."""
    flat = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])  # [batch * 256, 3]
    codes = model.quantize.embedding.weight
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        indices = (codes.square().sum(1) - 2 * flat.detach() @ codes.T).argmin(1)
    chosen = F.embedding(indices, codes).view(latents.shape[0], *latents.shape[2:], -1)
    return chosen.permute(0, 3, 1, 2), indices


def decode(model: VQModel, latents: torch.Tensor) -> torch.Tensor:
    """Pictures from latents that are already quantised, float32 [batch, 3, 64, 64]."""
    return model.decoder(model.post_quant_conv(latents)).float()


def picture_loss(result: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1 for clean flat areas, squares for the rare large error, differences of neighbours for crisp outlines."""
    error = result - target
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return error.abs().mean() + error.square().mean() + 0.5 * edges


def latent_loss(latents: torch.Tensor) -> torch.Tensor:
    """Hold each channel near mean 0 and deviation 1: the denoiser then sees channels of one size."""
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    return 0.05 * (mean.square() + (deviation - 1).square()).mean()


def loss_of(model: VQModel, pictures: torch.Tensor, continuous: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The training loss of a batch, and the numbers of the codes it used (none before quantisation starts)."""
    with autocast():
        latents = encode(model, pictures)
        loss = latent_loss(latents)
        if continuous:
            return loss + picture_loss(decode(model, latents), pictures), None
        chosen, indices = quantise(model, latents)
        loss = loss + F.mse_loss(chosen, latents.detach()) + 0.25 * F.mse_loss(latents, chosen.detach())
        straight_through = latents + (chosen - latents).detach()
        return loss + picture_loss(decode(model, straight_through), pictures), indices


def trained(run: Run) -> VQModel:
    """The autoencoder as it stands: as trained, with the polished decoder where there is one."""
    model = build(run.settings.autoencoder)
    model.load_state_dict((run.load("decoder.pt") or run.load("autoencoder.pt"))["model"])
    return model.eval()


@torch.no_grad()
def reconstruct(model: VQModel, pictures, batch: int = 50) -> torch.Tensor:
    """Reconstructions through the codebook, float32 [pictures, 3, 64, 64] clamped to [-1, 1]."""
    results = []
    for start in range(0, len(pictures), batch):
        latents = encode(model, data.to_tensor(pictures[start : start + batch]))
        results.append(decode(model, quantise(model, latents)[0]).clamp(-1, 1))
    return torch.cat(results)


def psnr(result: torch.Tensor, target: torch.Tensor) -> float:
    """Mean over pictures of the peak signal-to-noise ratio in dB, pictures in [-1, 1]."""
    error = (result - target).square().mean((1, 2, 3)).clamp(min=1e-10)
    return float((10 * torch.log10(4 / error)).mean())
