"""Run the configs of test/fixtures/published in diffusers, for test/parity/published.test.ts and test/models/published-configs.test.ts.

    python test/parity/reference/published.py --out DIR
    python test/parity/reference/published.py --out DIR --golden

Writes DIR/<kind>-<name>/: config.json or scheduler_config.json as published, the weights, case.json and tensors.safetensors.
`--golden` also writes a few numbers of each output to test/fixtures/published/golden.json.

The weights are those of test/support/published.ts: drawn for each tensor from a generator of its own, so that nothing needs to be stored.
"""

import argparse
import inspect
import json
import shutil
from pathlib import Path

import diffusers
import torch
from common import case_folder, seeded, set_threads, write_case
from safetensors.torch import save_file

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "published"
CONFIG_FILES = {"unet": "config.json", "vq": "config.json", "scheduler": "scheduler_config.json"}
STEPS = 6


def weights(model):
    """One seed per tensor, in the order of the names."""
    drawn = {}
    for seed, (name, parameter) in enumerate(sorted(model.state_dict().items())):
        values = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
        if parameter.dim() > 1:
            drawn[name] = values * (parameter[0].numel() ** -0.5)
        else:
            drawn[name] = values * 0.2 + (1.0 if name.endswith(".weight") else 0.0)
    return drawn


def load(kind, folder):
    """Save drawn weights beside the published config, and load both as people do."""
    known = {"unet": diffusers.UNet2DModel, "vq": diffusers.VQModel}[kind]
    save_file(weights(known.from_config(known.load_config(folder))), folder / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    return known.from_pretrained(folder).eval()


def run_unet(folder):
    model = load("unet", folder)
    side = max(16, 2 ** (len(model.config.block_out_channels)))
    sample = seeded((1, model.config.in_channels, side, side), 1)
    labels = None if model.config.num_class_embeds is None else torch.tensor([3])
    return {"sample": sample, "output": model(sample, 37, class_labels=labels).sample}, {"classLabels": None if labels is None else [3]}


def run_vq(folder):
    model = load("vq", folder)
    channels = model.config.vq_embed_dim or model.config.latent_channels
    latents = seeded((1, channels, 8, 8), 1)
    side = 4 * 2 ** (len(model.config.block_out_channels) - 1)
    picture = seeded((1, 3, side, side), 2)
    return {"latents": latents, "picture": picture, "output": model.decode(latents).sample, "encoded": model.encode(picture).latents}, {}


def run_scheduler(folder):
    config = json.loads((folder / "scheduler_config.json").read_text())
    scheduler = getattr(diffusers, config["_class_name"]).from_pretrained(folder)
    scheduler.set_timesteps(STEPS)
    sample = seeded((2, 3, 4, 4), 1)
    options = {"generator": torch.Generator().manual_seed(2)} if "generator" in inspect.signature(scheduler.step).parameters else {}
    output = sample
    for i, t in enumerate(scheduler.timesteps):
        scheduler.scale_model_input(output, t)
        output = scheduler.step(seeded(sample.shape, 100 + i), t, output, **options).prev_sample
    return {"sample": sample, "output": output}, {"timesteps": scheduler.timesteps.tolist()}


RUNS = {"unet": run_unet, "vq": run_vq, "scheduler": run_scheduler}


def cases():
    for kind in RUNS:
        for path in sorted((FIXTURES / kind).glob("*.json")):
            yield kind, path


def run(kind, path, out):
    folder = case_folder(out, f"{kind}-{path.stem}")
    shutil.copy(path, folder / CONFIG_FILES[kind])
    tensors, case = RUNS[kind](folder)
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values()), folder
    write_case(folder, {"kind": kind, "name": path.stem, **case}, tensors)
    return tensors["output"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--golden", action="store_true")
    arguments = parser.parse_args()
    set_threads()
    diffusers.utils.logging.set_verbosity_error()
    golden = {}
    with torch.no_grad():
        for kind, path in cases():
            output = run(kind, path, arguments.out).flatten()
            golden[f"{kind}/{path.stem}"] = [round(value, 6) for value in output[:: max(1, len(output) // 6)][:6].tolist()]
    if arguments.golden:
        (FIXTURES / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
