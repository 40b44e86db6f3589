"""Stage 4: the denoising network, trained on cached latents, with averaged (EMA) weights."""

import copy
import math
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DModel
from diffusers.models.attention_processor import Attention, AttnProcessor

from . import latents as latent_stage
from .muon import Muon, divide
from .parallel import Workers
from .run import Pace, Run, autocast
from .settings import Denoiser, Settings

STAGE = 2

#: Parts of a batch, see `parallel`; few, since convolutions over 16x16 want many pictures at once.
PARTS = 2


def build(settings: Denoiser) -> UNet2DModel:
    """A fresh `UNet2DModel` of the recipe's size: plain blocks at 16x16, attention below."""
    lower = len(settings.channels) - 1
    return UNet2DModel(
        sample_size=16,
        in_channels=3,
        out_channels=3,
        block_out_channels=settings.channels,
        down_block_types=("DownBlock2D",) + ("AttnDownBlock2D",) * lower,
        up_block_types=("AttnUpBlock2D",) * lower + ("UpBlock2D",),
        layers_per_block=settings.layers,
        attention_head_dim=settings.head_dim,
    )


def use_plain_attention(model: torch.nn.Module) -> None:
    """Attend by matrix products: on the CPU the fused kernel's backward pass is slower over 64 positions."""
    for module in model.modules():
        if isinstance(module, Attention):
            module.set_processor(AttnProcessor())


def scheduler() -> DDIMScheduler:
    """The sampler, and the source of the noise schedule in training."""
    return DDIMScheduler(**Settings.SCHEDULER)


def schedule(step: int, settings: Denoiser) -> float:
    """Share of the peak learning rate: warm-up, constant, then half a cosine down to a hundredth."""
    if step < settings.warm_up:
        return (step + 1) / settings.warm_up
    begin = settings.steps * (1 - settings.decay)
    share = max(0.0, (step - begin) / max(1.0, settings.steps - begin))
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def draw_noise(clean: torch.Tensor, timesteps: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Timesteps [batch], spread evenly over the batch, which steadies the loss; and noise like `clean`."""
    batch = len(clean)
    spread = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
    spread = spread[torch.randperm(batch, generator=generator)]
    chosen = (spread * timesteps).long().clamp(max=timesteps - 1)
    return chosen, torch.randn(clean.shape, generator=generator)


def loss_of(model: UNet2DModel, part: tuple, alphas: torch.Tensor, cap: float) -> tuple[torch.Tensor, None]:
    """Squared error of the velocity `sqrt(a) noise - sqrt(1 - a) clean`, weighted by min-SNR's rule."""
    clean, timesteps, noise = part
    a = alphas[timesteps].view(-1, 1, 1, 1)
    noisy = a.sqrt() * clean + (1 - a).sqrt() * noise
    velocity = a.sqrt() * noise - (1 - a).sqrt() * clean
    with autocast():
        predicted = model(noisy, timesteps).sample.float()
    weight = _weights(a, cap)
    mean_weight = _weights(alphas, cap).mean()
    return (weight * (predicted - velocity).square()).mean() / mean_weight, None


def _weights(alphas: torch.Tensor, cap: float) -> torch.Tensor:
    """min-SNR's weight of a velocity error at each timestep, [timesteps]."""
    ratio = alphas / (1 - alphas)
    return ratio.clamp(max=cap) / (ratio + 1)


@torch.no_grad()
def average(target: UNet2DModel, source: UNet2DModel, step: int, decay: float) -> None:
    """Move the averaged weights towards the trained ones; faster at first, when all is still wrong."""
    share = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), share)


class Training:
    """The state of the stage: network, averaged network, optimiser, step. Resumes from the run's checkpoint."""

    FILE = "denoiser.pt"

    def __init__(self, run: Run, init_from: Path | None, workers: Workers):
        self.run, self.settings = run, run.settings.denoiser
        torch.manual_seed(run.settings.seed)
        if init_from:
            self.model = UNet2DModel.from_pretrained(init_from, subfolder="unet").float()
        else:
            self.model = build(self.settings)
        use_plain_attention(self.model)
        self.averaged = copy.deepcopy(self.model).requires_grad_(False)
        matrices, rest = divide(self.model, ("conv_in.", "conv_out.", "time_embedding."))
        self.muon = Muon(matrices, lr=0.0, pool=workers.pool)
        self.adam = torch.optim.AdamW(rest, lr=0.0, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
        self.workers, self.step = workers, 0
        if state := run.load(self.FILE):
            self.model.load_state_dict(state["model"])
            self.averaged.load_state_dict(state["averaged"])
            self.muon.load_state_dict(state["muon"])
            self.adam.load_state_dict(state["adam"])
            self.step = state["step"]
        self.clean, _ = latent_stage.load(run)
        self.alphas = scheduler().alphas_cumprod

    def save(self) -> None:
        """Write the checkpoint."""
        weights = {"model": self.model.state_dict(), "averaged": self.averaged.state_dict()}
        optimisers = {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}
        self.run.save(self.FILE, {**weights, **optimisers, "step": self.step})

    def advance(self) -> float:
        """Take one step; returns the loss."""
        settings, generator = self.settings, self.run.generator(STAGE, self.step)
        clean = self.clean[torch.randint(0, len(self.clean), (settings.batch,), generator=generator)]
        batch = (clean, *draw_noise(clean, len(self.alphas), generator))
        parts = list(zip(*(values.split(settings.batch // PARTS) for values in batch)))
        for optimiser, peak in ((self.muon, settings.muon_rate), (self.adam, settings.learning_rate)):
            optimiser.param_groups[0]["lr"] = peak * schedule(self.step, settings)
        loss, _ = self.workers.backward(
            self.model, lambda part: loss_of(self.model, part, self.alphas, settings.snr_cap), parts
        )
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.muon.step()
        self.adam.step()
        average(self.averaged, self.model, self.step, settings.ema)
        self.step += 1
        return loss

    def report(self, losses: list[float], pace: Pace) -> None:
        """Say how the loss stands, as a mean since the last report."""
        steps = self.settings.steps
        self.run.say(
            f"denoiser: step {self.step}/{steps}, loss {sum(losses) / len(losses):.4f},"
            f" {pace.rate:.0f} latents/s, {pace.remaining(steps - self.step)} left"
        )


def train(run: Run, init_from: Path | None = None) -> None:
    """Train, or go on with training, until the settings' number of steps."""
    training = Training(run, init_from, Workers(run.settings.threads))
    settings, losses = training.settings, []
    pace = Pace(run.settings.save_every, settings.batch)
    while training.step < settings.steps:
        losses.append(training.advance())
        if pace.due() or training.step == settings.steps:
            training.save()
            training.report(losses, pace)
            losses.clear()
    training.save()
