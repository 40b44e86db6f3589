"""What the reference generators share: their command line, seeded weights, and the files they leave for the tests."""

import argparse
import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file


def parse_arguments(description, argv=None):
    """Read `--out DIR [--golden]`, and set the number of threads that the Node side is told too."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True, help="folder for one folder a case; what it holds is replaced")
    parser.add_argument("--golden", action="store_true", help="write only the small cases that are committed")
    arguments = parser.parse_args(argv)
    set_threads()
    return arguments


def set_threads():
    """Bits depend on the number of threads: both sides take it from PARITY_THREADS."""
    torch.set_num_threads(int(os.environ.get("PARITY_THREADS", "2")))


def case_folder(out, name):
    """Make an empty folder for one case."""
    folder = out / name
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder


def write_case(folder, case, tensors):
    """Write `case.json` and `tensors.safetensors`, inputs and expected outputs together."""
    (folder / "case.json").write_text(json.dumps(case, indent=2, sort_keys=True) + "\n")
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, folder / "tensors.safetensors")


def seeded(shape, seed, dtype=torch.float32):
    """Standard normal numbers from a generator of their own; drawn in float32, then cast."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def randomize(model, seed):
    """Seeded weights in which nothing is trivially one or zero, as a fresh norm is, and codes lie apart."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.GroupNorm):
                module.weight.copy_(1 + 0.3 * torch.randn(module.weight.shape, generator=generator))
                module.bias.copy_(0.3 * torch.randn(module.bias.shape, generator=generator))
            elif isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
                bound = module.weight[0].numel() ** -0.5
                for parameter in module.parameters(recurse=False):
                    parameter.uniform_(-bound, bound, generator=generator)
            elif isinstance(module, torch.nn.Embedding):
                # Codebooks too: a fresh one lies within 1/n of zero, and pictures would hardly depend on the latents.
                module.weight.normal_(generator=generator)
    return model.eval().requires_grad_(False)


def align(model):
    """Give every weight memory of its own, which begins at a multiple of 64; return the model.

    `from_pretrained` leaves weights where they are in the mapped file, and MKL rounds by address: at batch 1, Python's own last bits
    differ between a model that was loaded and one that was constructed, moved, cloned or exported to TorchScript.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return model


class Recorder:
    """Collects the tensors of one case under short names."""

    def __init__(self):
        self.tensors = {}

    def add(self, prefix, tensor):
        """Keep a copy and return its name."""
        name = f"{prefix}{len(self.tensors)}"
        self.tensors[name] = tensor.detach().clone()
        return name
