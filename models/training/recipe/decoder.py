"""Stage 5: polish the decoder, with the encoder and the codebook held still.

The latents keep their meaning, so this can run at any time after the autoencoder, the denoiser being trained or not.
"""

import math

import torch

from . import autoencoder, data
from .parallel import Workers
from .run import Pace, Run, autocast

STAGE = 3


def polish(run: Run) -> None:
    """Train the decoder alone, or go on with it, until the settings' number of steps."""
    settings = run.settings.decoder
    model = autoencoder.trained(run)
    trainable = [*model.post_quant_conv.parameters(), *model.decoder.parameters()]
    model.requires_grad_(False)
    for parameter in trainable:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(trainable, lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    first = 0
    if state := run.load("decoder.pt"):
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
    faces, held_out = data.load(run)
    pace, workers = Pace(run.settings.save_every, settings.batch), Workers(run.settings.threads)
    for step in range(first, settings.steps):
        pictures = data.to_tensor(faces[run.batch(STAGE, step, settings.batch, len(faces)).numpy()])
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / settings.steps)))
        parts = pictures.split(settings.batch // autoencoder.PARTS)
        loss, _ = workers.backward(model, lambda part: _loss_of(model, part), parts)
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimiser.step()
        if pace.due() or step + 1 == settings.steps:
            run.save("decoder.pt", {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1})
            quality = autoencoder.psnr(autoencoder.reconstruct(model, held_out[:128]), data.to_tensor(held_out[:128]))
            run.say(
                f"decoder: step {step + 1}/{settings.steps}, loss {loss:.4f}, held-out PSNR {quality:.2f} dB,"
                f" {pace.rate:.0f} pictures/s, {pace.remaining(settings.steps - step)} left"
            )


def _loss_of(model, pictures: torch.Tensor) -> tuple[torch.Tensor, None]:
    """The picture loss through the fixed encoder and codebook."""
    with autocast():
        with torch.no_grad():
            codes, _ = autoencoder.quantise(model, autoencoder.encode(model, pictures))
        return autoencoder.picture_loss(autoencoder.decode(model, codes), pictures), None
