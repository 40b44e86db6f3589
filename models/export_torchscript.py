"""Export the networks of a diffusers LDMPipeline checkpoint to TorchScript, for LDMPipeline.fromTorchScript.

    python models/export_torchscript.py CHECKPOINT_FOLDER OUT_FOLDER [--dtype float32|float64|float16|bfloat16]

Writes to OUT_FOLDER:
    unet.pt                  forward(sample, timestep): the timestep is a float32 tensor without dimensions
    vq_decoder.pt            forward(latents): quantises and decodes; does not divide by the scaling factor
    scheduler_config.json    as it stands in the checkpoint
    config.json              what the two files do not say themselves

Needs torch and diffusers. A trace keeps the dtype and the device (the CPU) that it was made with.
"""

import argparse
import json
import shutil
import sys
import warnings
from pathlib import Path

import torch
from diffusers import UNet2DModel, VQModel
from diffusers.utils import logging

DTYPES = ["float32", "float64", "float16", "bfloat16"]


class Denoiser(torch.nn.Module):
    """A UNet that takes and gives plain tensors."""

    def __init__(self, unet: UNet2DModel):
        super().__init__()
        self.unet = unet

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return self.unet(sample, timestep, return_dict=False)[0]


class Decoder(torch.nn.Module):
    """The decoding half of a VQModel, with its codebook."""

    def __init__(self, vqvae: VQModel):
        super().__init__()
        self.vqvae = vqvae

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.vqvae.decode(latents, return_dict=False)[0]


def fail(message: str) -> None:
    sys.exit(f"export_torchscript.py: {message}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="folder with model_index.json, unet/, vqvae/ and scheduler/")
    parser.add_argument("out", type=Path, help="folder to write to; made if it does not exist")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="what the networks compute in (default: float32)")
    arguments = parser.parse_args()
    for name in ("unet/config.json", "vqvae/config.json", "scheduler/scheduler_config.json"):
        if not (arguments.checkpoint / name).is_file():
            fail(f"{arguments.checkpoint / name} does not exist; expected the folder of an LDMPipeline")
    return arguments


def scaling_factor(checkpoint: Path) -> float:
    """A checkpoint older than the key was trained without it; diffusers would fill in Stable Diffusion's 0.18215."""
    return json.loads((checkpoint / "vqvae" / "config.json").read_text()).get("scaling_factor", 1.0)


def latent_size(unet: UNet2DModel) -> tuple[int, int]:
    """Height and width to trace with; the traces take any that the network's levels divide."""
    size = unet.config.sample_size
    if size is None:
        side = 2 ** len(unet.config.block_out_channels)
        return side, side
    return (size, size) if isinstance(size, int) else tuple(size)


def trace(module: torch.nn.Module, examples: tuple, others: list[tuple], name: str) -> torch.jit.ScriptModule:
    """Trace, and prove on other inputs (another batch, another timestep) that the trace kept nothing of the example."""
    module.eval().requires_grad_(False)
    with warnings.catch_warnings():
        # The tracer warns of every shape check in Python; the comparison below says whether one mattered.
        warnings.simplefilter("ignore", category=torch.jit.TracerWarning)
        traced = torch.jit.trace(module, examples, check_trace=False)
    for inputs in [examples, *others]:
        if not torch.equal(traced(*inputs), module(*inputs)):
            fail(f"the trace of the {name} differs from the network itself for inputs of shape {[list(x.shape) for x in inputs]}")
    return traced


def export(checkpoint: Path, out: Path, dtype: torch.dtype) -> None:
    unet = UNet2DModel.from_pretrained(checkpoint / "unet", torch_dtype=dtype)
    vqvae = VQModel.from_pretrained(checkpoint / "vqvae", torch_dtype=dtype)
    if unet.config.class_embed_type is not None or unet.config.num_class_embeds is not None:
        fail("the UNet has a class embedding, and the pipeline is unconditional")
    channels, (height, width) = unet.config.in_channels, latent_size(unet)

    # A float timestep: a trace made with an integer would cut 7.5 to 7 without a word.
    inputs = [(torch.randn(n, channels, height, width).to(dtype), torch.tensor(t)) for n, t in ((1, 7.5), (3, 421.0), (2, 0.5))]
    if unet.config.time_embedding_type == "learned":
        fail("time_embedding_type 'learned' looks its timesteps up, and takes no float")
    out.mkdir(parents=True, exist_ok=True)
    trace(Denoiser(unet), inputs[0], inputs[1:], "UNet").save(out / "unet.pt")

    latents = [(sample,) for sample, _ in inputs]
    trace(Decoder(vqvae), latents[0], latents[1:], "decoder").save(out / "vq_decoder.pt")
    picture = vqvae.decode(latents[0][0]).sample

    shutil.copyfile(checkpoint / "scheduler" / "scheduler_config.json", out / "scheduler_config.json")
    config = {
        "in_channels": channels,
        "out_channels": unet.config.out_channels,
        "sample_size": unet.config.sample_size,
        "scaling_factor": scaling_factor(checkpoint),
        "image_channels": picture.shape[1],
        "vae_scale_factor": picture.shape[2] // height,
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def main() -> None:
    arguments = parse_arguments()
    logging.set_verbosity_error()
    export(arguments.checkpoint, arguments.out, getattr(torch, arguments.dtype))
    print(f"Wrote unet.pt, vq_decoder.pt, scheduler_config.json and config.json to {arguments.out} ({arguments.dtype})")


if __name__ == "__main__":
    main()
