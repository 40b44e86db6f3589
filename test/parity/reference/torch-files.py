"""Write networks with torch.save and with safetensors, for test/parity/torch-files.test.ts to read and to compare.

    python test/parity/reference/torch-files.py --out DIR
"""

import argparse
import importlib.util
import sys
from pathlib import Path

import torch
from diffusers import UNet2DModel
from safetensors.torch import save_file

FIXTURE = Path(__file__).parents[2] / "fixtures" / "torch-save" / "torch-save.py"


def tiny_unet() -> UNet2DModel:
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=8, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4, attention_head_dim=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )


def write_networks(out: Path) -> None:
    """Every way in which diffusers saves a network as a pickle, each beside its safetensors twin."""
    model = tiny_unet()
    ways = {
        "single": (model, {}),
        "sharded": (model, {"max_shard_size": 5000}),
        "variant": (model, {"variant": "fp16"}),
        "sharded-variant": (model, {"variant": "fp16", "max_shard_size": 5000}),
        "half": (tiny_unet().half(), {}),
        "bfloat16": (tiny_unet().bfloat16(), {}),
        "channels-last": (tiny_unet().to(memory_format=torch.channels_last), {}),
    }
    for name, (network, options) in ways.items():
        network.save_pretrained(out / name / "bin", safe_serialization=False, **options)
        if name == "channels-last":
            # diffusers makes tensors contiguous as it saves; torch.save alone keeps their strides.
            torch.save(network.state_dict(), out / name / "bin" / "diffusion_pytorch_model.bin")
        # safetensors of contiguous tensors: the oracle.
        network.to(memory_format=torch.contiguous_format).save_pretrained(out / name / "safetensors", **options)


def write_legacy(out: Path) -> None:
    """The format before PyTorch 1.6, larger than what is read of it at once, with a long pickle."""
    torch.manual_seed(3)
    state = {f"layers.{i}.{'weight' * 40}": torch.randn(5, i % 7) for i in range(6000)}
    out.mkdir(parents=True)
    torch.save(state, out / "diffusion_pytorch_model.bin", _use_new_zipfile_serialization=False)
    save_file(state, out / "expected.safetensors", metadata={"format": "pt"})


def write_state(out: Path) -> None:
    """The tensors of the committed fixture, written anew by this version of PyTorch."""
    spec = importlib.util.spec_from_file_location("torch_save", FIXTURE)
    fixture = importlib.util.module_from_spec(spec)
    # Where the pickler looks for the fixture's classes.
    sys.modules["torch_save"] = fixture
    spec.loader.exec_module(fixture)
    fixture.main(out)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    write_networks(out / "networks")
    write_legacy(out / "legacy")
    write_state(out / "state")


if __name__ == "__main__":
    main()
