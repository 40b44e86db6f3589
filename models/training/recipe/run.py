"""What every stage shares: its folder, its checkpoints, its report of progress."""

import datetime
import os
import time
from pathlib import Path

import torch

from .settings import Settings


class Run:
    """A folder that holds a run's data, checkpoints and status, so that it can be stopped and resumed."""

    def __init__(self, folder: Path, settings: Settings):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.settings = settings
        torch.set_num_threads(settings.threads)

    def path(self, *parts: str) -> Path:
        """The path of a file of this run."""
        return self.folder.joinpath(*parts)

    def save(self, name: str, state: dict) -> None:
        """Write a checkpoint so that a stop at any moment leaves the old one or the new one."""
        part = self.path(f"{name}.part")
        torch.save(state, part)
        os.replace(part, self.path(name))

    def load(self, name: str) -> dict | None:
        """Read a checkpoint, or `None` where there is none."""
        path = self.path(name)
        return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None

    def say(self, line: str) -> None:
        """Print a line and keep it in `status.md`, newest last."""
        stamped = f"{datetime.datetime.now(datetime.UTC):%H:%M:%S} {line}"
        print(stamped, flush=True)
        with open(self.path("status.md"), "a", encoding="utf-8") as status:
            status.write(f"- {stamped}\n")

    def batch(self, stage: int, step: int, size: int, total: int) -> torch.Tensor:
        """The picture numbers of a step's batch, which resuming does not change."""
        return torch.randint(0, total, (size,), generator=self.generator(stage, step))

    def generator(self, stage: int, step: int) -> torch.Generator:
        """A generator that depends on seed, stage and step only."""
        return torch.Generator().manual_seed((self.settings.seed * 16 + stage) * 10_000_000 + step)


class Pace:
    """Measures samples a second since the last report and says when the next save is due."""

    def __init__(self, every: float, batch: int):
        self.every, self.batch = every, batch
        self.last, self.steps = time.monotonic(), 0
        self.rate = 0.0

    def due(self) -> bool:
        """Count one step; true once `every` seconds have passed."""
        self.steps += 1
        passed = time.monotonic() - self.last
        if passed < self.every:
            return False
        self.rate = self.steps * self.batch / passed
        self.last, self.steps = time.monotonic(), 0
        return True

    def remaining(self, steps: int) -> str:
        """Minutes that `steps` more steps would take at the last measured rate."""
        return f"{steps * self.batch / max(self.rate, 1e-9) / 60:.1f} min"


def autocast() -> torch.autocast:
    """bfloat16 arithmetic where this CPU has it, float32 elsewhere; no cache, since threads would share it."""
    supported = torch.cpu._is_avx512_bf16_supported()
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=supported, cache_enabled=False)
