"""Stage 3: the training pictures as latents, encoded once."""

import torch

from . import autoencoder, data
from .run import Run, autocast


@torch.no_grad()
def encode_all(run: Run, batch: int = 100) -> None:
    """Store the latents before quantisation, float16, and the factor that gives them deviation 1."""
    if run.path("latents.pt").exists():
        return
    faces, _ = data.load(run)
    model = autoencoder.trained(run)
    parts = []
    for start in range(0, len(faces), batch):
        with autocast():
            parts.append(autoencoder.encode(model, data.to_tensor(faces[start : start + batch])).half())
    latents = torch.cat(parts)
    deviation = latents.float().std()
    channels = latents.float().std((0, 2, 3))
    run.say(f"latents: deviation {deviation:.4f}, by channel {[round(float(c), 3) for c in channels]}")
    run.save("latents.pt", {"latents": latents, "scaling_factor": float(1 / deviation)})


def load(run: Run) -> tuple[torch.Tensor, float]:
    """The scaled training latents, float32 [pictures, 3, 16, 16] with deviation 1, and the scaling factor."""
    state = run.load("latents.pt")
    return state["latents"].float() * state["scaling_factor"], state["scaling_factor"]
