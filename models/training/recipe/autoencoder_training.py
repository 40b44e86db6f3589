"""Stage 2: training the autoencoder, first without its codebook, then with it."""

import math
from pathlib import Path

import torch
from diffusers import VQModel

from . import data
from .autoencoder import PARTS, build, decode, encode, loss_of, psnr, reconstruct
from .parallel import Workers
from .run import Pace, Run, autocast
from .settings import Autoencoder

STAGE = 1


def rate(step: int, settings: Autoencoder) -> float:
    """Learning rate: linear warm-up, then half a cosine down to a hundredth."""
    if step < settings.warm_up:
        return settings.learning_rate * (step + 1) / settings.warm_up
    share = (step - settings.warm_up) / max(1, settings.steps - settings.warm_up)
    return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(share, 1.0))))


@torch.no_grad()
def fit_codes(model: VQModel, latents: torch.Tensor, generator: torch.Generator, rounds: int = 15) -> None:
    """Place the codebook by k-means over the latents of a few hundred pictures."""
    flat = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
    codes = flat[torch.randperm(len(flat), generator=generator)[: len(model.quantize.embedding.weight)]].clone()
    for _ in range(rounds):
        nearest = (codes.square().sum(1) - 2 * flat @ codes.T).argmin(1)
        counts = torch.bincount(nearest, minlength=len(codes)).float()
        sums = torch.zeros_like(codes).index_add_(0, nearest, flat)
        codes = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], codes)
    model.quantize.embedding.weight.copy_(codes)


@torch.no_grad()
def revive(model: VQModel, counts: torch.Tensor, latents: torch.Tensor, generator: torch.Generator) -> int:
    """Move codes that nothing used onto latents of the present batch; returns how many."""
    dead = (counts == 0).nonzero().flatten()
    flat = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
    picks = torch.randint(0, len(flat), (len(dead),), generator=generator)
    model.quantize.embedding.weight[dead] = flat[picks]
    return len(dead)


class Training:
    """The state of the stage: model, optimiser, counts of the codes' use, step. Resumes from the run's checkpoint."""

    FILE = "autoencoder.pt"

    def __init__(self, run: Run, init_from: Path | None):
        self.run, self.settings = run, run.settings.autoencoder
        torch.manual_seed(run.settings.seed)
        if init_from:
            self.model = VQModel.from_pretrained(init_from, subfolder="vqvae").float()
        else:
            self.model = build(self.settings)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0, fused=True
        )
        self.counts = torch.zeros(self.settings.codes, dtype=torch.long)
        self.step = 0
        self.quantised_from = 0 if init_from else int(self.settings.steps * self.settings.continuous)
        if state := run.load(self.FILE):
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.counts = state["step"], state["counts"]
        self.faces, self.held_out = data.load(run)

    def save(self) -> None:
        """Write the checkpoint."""
        weights = {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}
        self.run.save(self.FILE, {**weights, "step": self.step, "counts": self.counts})

    def advance(self, workers: Workers) -> float:
        """Take one step; returns the loss."""
        numbers = self.run.batch(STAGE, self.step, self.settings.batch, len(self.faces)).numpy()
        pictures = data.to_tensor(self.faces[numbers])
        continuous = self.step < self.quantised_from
        for group in self.optimiser.param_groups:
            group["lr"] = rate(self.step, self.settings)
        parts = pictures.split(self.settings.batch // PARTS)
        loss, codes = workers.backward(self.model, lambda part: loss_of(self.model, part, continuous), parts)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        if not continuous:
            self.counts += torch.bincount(torch.cat(codes), minlength=self.settings.codes)
            if self.step % self.settings.revive_every == 0:
                self.look_after_codes(pictures)
        return loss

    def start_codes(self) -> None:
        """Fit the codebook to the encoder as it is when quantisation starts."""
        with torch.no_grad():
            latents = [encode(self.model, data.to_tensor(self.faces[i : i + 50])) for i in range(0, 300, 50)]
        fit_codes(self.model, torch.cat(latents), self.run.generator(STAGE, 0))
        self.run.say("autoencoder: codebook fitted")

    def look_after_codes(self, pictures: torch.Tensor) -> None:
        """Revive unused codes, while there is time for them to settle, and count anew."""
        if self.step < self.settings.steps * self.settings.revive_until:
            with torch.no_grad():
                latents = encode(self.model, pictures)
            revive(self.model, self.counts, latents, self.run.generator(STAGE, self.step))
        self.run.say(f"autoencoder: step {self.step}, {int((self.counts > 0).sum())} codes in use")
        self.counts = torch.zeros_like(self.counts)

    def report(self, loss: float, pace: Pace) -> None:
        """Say how the reconstruction of held-out pictures stands, through the codebook and without it."""
        target, steps = data.to_tensor(self.held_out[:128]), self.settings.steps
        with torch.no_grad(), autocast():
            direct = torch.cat([decode(self.model, encode(self.model, part)) for part in target.split(32)])
            ready = reconstruct(self.model, self.held_out[:128])
        self.run.say(
            f"autoencoder: step {self.step}/{steps}, loss {loss:.4f}, held-out PSNR {psnr(ready, target):.2f} dB"
            f" (unquantised {psnr(direct.clamp(-1, 1), target):.2f}), {pace.rate:.0f} pictures/s,"
            f" {pace.remaining(steps - self.step)} left"
        )


def train(run: Run, init_from: Path | None = None) -> None:
    """Train, or go on with training, until the settings' number of steps."""
    training = Training(run, init_from)
    pace, workers = Pace(run.settings.save_every, training.settings.batch), Workers(run.settings.threads)
    while training.step < training.settings.steps:
        if training.step == training.quantised_from and not init_from:
            training.start_codes()
        loss = training.advance(workers)
        if pace.due() or training.step == training.settings.steps:
            training.save()
            training.report(loss, pace)
    training.save()
