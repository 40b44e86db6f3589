"""Stage 7: what the exported checkpoint is worth, by numbers and by a grid of samples that nobody chose."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, LDMPipeline
from PIL import Image

from . import autoencoder, data
from .features import NAME, features, frechet
from .parallel import Workers
from .run import Run


def evaluate(run: Run, checkpoint: Path) -> dict:
    """Evaluate the checkpoint in the folder `checkpoint`; figures and grids are written there."""
    settings = run.settings.evaluation
    pipeline = LDMPipeline.from_pretrained(checkpoint)
    samples = {steps: generate(run, pipeline, digest(checkpoint), steps) for steps in settings.steps}
    torch.set_num_threads(run.settings.threads)
    faces, held_out = data.load(run)
    real = data.to_tensor(held_out)
    rebuilt = autoencoder.reconstruct(pipeline.vqvae, held_out)
    seen = features(data.to_tensor(faces[: settings.reference]))
    figures = {
        "generated": settings.generated,
        "held_out": len(real),
        "reconstruction_psnr_db": round(autoencoder.psnr(rebuilt, real), 2),
        "feature_space": NAME,
        "frechet": {
            "held-out real": spread(real, seen, settings.generated),
            "held-out reconstructed": spread(rebuilt, seen, settings.generated),
            **{f"generated, DDIM {n}": spread(pictures, seen, settings.generated) for n, pictures in samples.items()},
        },
        "nearest_training_picture": memorised(samples[settings.steps[0]], rebuilt, faces),
    }
    (checkpoint / "evaluation.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    save_grid(torch.stack([real[:32], rebuilt[:32]], 1).flatten(0, 1), checkpoint / "reconstructions.png")
    for steps, pictures in samples.items():
        save_grid(pictures[: settings.grid], checkpoint / f"samples-{steps}.png")
    run.say(f"evaluation: {json.dumps(figures)}")
    return figures


def digest(checkpoint: Path) -> str:
    """A name for the checkpoint's exact weights and configs."""
    parts = sorted([*checkpoint.rglob("*.safetensors"), *checkpoint.glob("*/*.json")])
    return hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()[:16]


def generate(run: Run, pipeline: LDMPipeline, name: str, steps: int) -> torch.Tensor:
    """The first pictures of the seed, float32 [pictures, 3, 64, 64] in [-1, 1]; done batches are kept in the run.

    Picture n starts from the noise of seed + n, so that a grid does not depend on the size of a batch.
    """
    settings = run.settings.evaluation
    run.path("samples").mkdir(exist_ok=True)

    def batch(start: int) -> torch.Tensor:
        """The pictures from `start` on, from the run's folder where they are there."""
        file = f"samples/{name}-{steps}-{start}-{settings.batch}.pt"
        if kept := run.load(file):
            return kept["pictures"]
        # the networks are shared, the scheduler is not: it keeps its timesteps
        own = LDMPipeline(pipeline.vqvae, pipeline.unet, DDIMScheduler.from_config(pipeline.scheduler.config))
        own.set_progress_bar_config(disable=True)
        seeds = [torch.Generator().manual_seed(settings.seed + start + n) for n in range(settings.batch)]
        result = own(batch_size=len(seeds), generator=seeds, num_inference_steps=steps, output_type="np")
        pictures = torch.from_numpy(result.images).permute(0, 3, 1, 2) * 2 - 1
        run.save(file, {"pictures": pictures})
        run.say(f"evaluation: DDIM {steps}, pictures {start} to {start + settings.batch - 1}")
        return pictures

    workers = Workers(run.settings.threads)
    batches = workers.pool.map(batch, range(0, settings.generated, settings.batch))
    return torch.cat(list(batches))[: settings.generated]


def spread(pictures: torch.Tensor, seen: torch.Tensor, size: int) -> dict:
    """Frechet distances from `seen` of disjoint sets of `size` pictures: few pictures alone already lie far off."""
    sets = [part for part in pictures.split(size) if len(part) == size]
    distances = [frechet(features(part), seen) for part in sets]
    return {"mean": round(float(np.mean(distances)), 4), "of": [round(d, 4) for d in distances]}


def memorised(generated: torch.Tensor, rebuilt: torch.Tensor, faces: np.ndarray) -> dict:
    """How near generated pictures are to training pictures, against reconstructions of held-out ones.

    Both went through the decoder, so both carry its errors. With nothing memorised, about a half of the generated
    pictures are nearer than the median of the held-out ones, and one in twenty nearer than the nearest twentieth.
    """
    ours, theirs = nearest(generated, faces), nearest(rebuilt, faces)
    median, twentieth = torch.quantile(theirs, 0.5), torch.quantile(theirs, 0.05)
    return {
        "share nearer than the held-out median": float((ours < median).double().mean()),
        "share nearer than the nearest twentieth of held-out": float((ours < twentieth).double().mean()),
        "share nearer than any held-out": float((ours < theirs.min()).double().mean()),
        "median distance, generated": round(float(ours.median()), 4),
        "median distance, held-out": round(float(median), 4),
        "least distance, generated": round(float(ours.min()), 4),
        "least distance, held-out": round(float(theirs.min()), 4),
    }


def nearest(pictures: torch.Tensor, faces: np.ndarray, batch: int = 2_000) -> torch.Tensor:
    """Root mean squared distance of each picture to its nearest training picture, pixels in [-1, 1]."""
    flat = pictures.flatten(1)
    best = torch.full((len(flat),), float("inf"))
    for start in range(0, len(faces), batch):
        others = data.to_tensor(faces[start : start + batch]).flatten(1)
        best = torch.minimum(best, torch.cdist(flat, others).amin(1))
    return best / flat.shape[1] ** 0.5


def save_grid(pictures: torch.Tensor, path: Path, columns: int = 8) -> None:
    """Write pictures in rows as one PNG."""
    values = ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    rows, size = len(values) // columns, values.shape[1]
    grid = values[: rows * columns].reshape(rows, columns, size, size, 3).transpose(0, 2, 1, 3, 4)
    part = path.with_name(f".{path.name}")
    Image.fromarray(grid.reshape(rows * size, columns * size, 3)).save(part, format="PNG", optimize=True)
    os.replace(part, path)
