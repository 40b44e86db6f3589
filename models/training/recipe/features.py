"""A fixed feature space that needs no download, and the Frechet distance in it."""

import torch
from torch import nn

#: What the card names: anyone can rebuild it from these lines.
NAME = "SeededNetwork of recipe/features.py: three random orthogonal convolutions, seed 0, 192 features"


class SeededNetwork(nn.Module):
    """Random orthogonal convolutions with ReLU, 64x64 pictures to 192 features.

    The first 64 are the largest responses of the last layer over the picture, the others its means over two halves, top
    and bottom: random filters respond to edges and colours, halves to where they are.
    """

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.layers = nn.Sequential()
        for channels, width, kernel in ((3, 48, 5), (48, 96, 3), (96, 64, 3)):
            layer = nn.Conv2d(channels, width, kernel, stride=2, padding=kernel // 2)
            nn.init.orthogonal_(layer.weight, gain=2**0.5, generator=generator)
            nn.init.zeros_(layer.bias)
            self.layers.append(layer).append(nn.ReLU())
        self.requires_grad_(False)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures float32 [batch, 3, 64, 64] in [-1, 1] to features [batch, 192]."""
        maps = self.layers(pictures)  # [batch, 64, 8, 8]
        top, bottom = maps[:, :, :4].mean((2, 3)), maps[:, :, 4:].mean((2, 3))
        return torch.cat([maps.amax((2, 3)), top, bottom], 1)


@torch.no_grad()
def features(pictures: torch.Tensor, batch: int = 200) -> torch.Tensor:
    """Features of all pictures, float64 [pictures, 192]."""
    network = SeededNetwork().eval()
    return torch.cat([network(part) for part in pictures.split(batch)]).double()


def frechet(first: torch.Tensor, second: torch.Tensor) -> float:
    """Squared Frechet distance of two Gaussians fitted to features [pictures, features].

    `trace((A B)^(1/2))` is the sum of the roots of the eigenvalues of `A^(1/2) B A^(1/2)`, which is symmetric.
    """
    a, b = torch.cov(first.T), torch.cov(second.T)
    values, vectors = torch.linalg.eigh(a)
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum()
    means = (first.mean(0) - second.mean(0)).square().sum()
    return float(means + a.trace() + b.trace() - 2 * cross)
