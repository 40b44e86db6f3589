"""Stage 5: the checkpoint in diffusers' layout, float16."""

import json
import os
import shutil
from pathlib import Path

import torch
from diffusers import LDMPipeline

from . import autoencoder, denoiser
from . import latents as latent_stage
from .run import Run


def pipeline(run: Run) -> LDMPipeline:
    """The pipeline from the run's checkpoints, with the averaged weights, float32."""
    vqvae = autoencoder.trained(run)
    vqvae.register_to_config(scaling_factor=latent_stage.load(run)[1])
    unet = denoiser.build(run.settings.denoiser)
    unet.load_state_dict(run.load("denoiser.pt")["averaged"])
    return LDMPipeline(vqvae=vqvae, unet=unet.eval(), scheduler=denoiser.scheduler())


def export(run: Run, target: Path) -> None:
    """Write the pipeline as float16 safetensors; each part of `target` is replaced whole."""
    built = run.path("export")
    shutil.rmtree(built, ignore_errors=True)
    pipeline(run).to(torch.float16).save_pretrained(built, safe_serialization=True)
    _tidy(built)
    target.mkdir(parents=True, exist_ok=True)
    for part in sorted(built.iterdir()):
        _replace(part, target / part.name)
    size = sum(f.stat().st_size for f in target.rglob("*.safetensors"))
    run.say(f"export: {size / 1e6:.2f} MB of weights in {target.name}")


def _tidy(folder: Path) -> None:
    """Remove `_name_or_path`, which names a folder of this machine, and let everyone read the files."""
    for path in folder.rglob("*.json"):
        config = json.loads(path.read_text(encoding="utf-8"))
        if config.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for path in folder.rglob("*.*"):
        path.chmod(0o644)


def _replace(source: Path, target: Path) -> None:
    """Put a file or folder in the place of another one; readers see the old one or the new one."""
    old = target.with_name(f".{target.name}.old")
    staged = target.with_name(f".{target.name}.new")
    for leftover in (old, staged):
        shutil.rmtree(leftover, ignore_errors=True)
    if source.is_file():
        shutil.copy(source, staged)
        os.replace(staged, target)
        return
    shutil.copytree(source, staged)
    if target.exists():
        os.rename(target, old)
    os.rename(staged, target)
    shutil.rmtree(old, ignore_errors=True)
