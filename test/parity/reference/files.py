"""Write checkpoint files with the Python libraries, for test/parity/files.test.ts to read and to write again byte for byte.

    python test/parity/reference/files.py --out DIR
"""

import argparse
import json
import random
import struct
import warnings
from pathlib import Path

import diffusers
import torch
from diffusers import DDIMScheduler, LDMPipeline, UNet2DModel, VQModel
from safetensors.torch import save_file

DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
SCHEDULERS = [
    ("DDIMScheduler", {}),
    ("DDIMScheduler", {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195, "clip_sample": False}),
    ("DDIMScheduler", {"trained_betas": [0.0, 0.25, 1.0, 1e-05], "sample_max_value": 2.0, "dynamic_thresholding_ratio": 1.0}),
    ("DDPMScheduler", {}),
    ("PNDMScheduler", {}),
    ("LMSDiscreteScheduler", {}),
    ("EulerDiscreteScheduler", {"sigma_min": 0.0, "sigma_max": 80.0}),
    ("EulerAncestralDiscreteScheduler", {}),
    ("HeunDiscreteScheduler", {}),
    ("DPMSolverMultistepScheduler", {}),
    ("UniPCMultistepScheduler", {"disable_corrector": [0, 1]}),
    ("LCMScheduler", {}),
    ("TCDScheduler", {}),
]


def tiny_unet() -> UNet2DModel:
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=8, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4, attention_head_dim=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )


def tiny_vqvae(**settings) -> VQModel:
    torch.manual_seed(1)
    return VQModel(block_out_channels=(8,), norm_num_groups=4, num_vq_embeddings=16, **settings)


def write_tensors(out: Path) -> None:
    """One tensor of each dtype and names that sort or escape in special ways."""
    torch.manual_seed(2)
    tensors = {name: (torch.randn(3, 2) * 50).to(getattr(torch, name)) for name in DTYPES}
    for name in ["", "é", "\uffff", "\U00010000", "tab\t\x01\x7f", 'quote"\\/', "0", "00", "__proto__", "constructor"]:
        tensors[name] = torch.randn(2)
    tensors["scalar"] = torch.tensor(1.5)
    tensors["empty"] = torch.zeros(0, 3)
    out.mkdir(parents=True)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})


def write_models(out: Path) -> None:
    """A network as one file, in shards, and as variants of both; with the order of its tensors beside it."""
    unet = tiny_unet()
    unet.save_pretrained(out / "single")
    unet.save_pretrained(out / "sharded", max_shard_size=5000)
    half = tiny_unet().half()
    half.save_pretrained(out / "variant", variant="fp16")
    half.save_pretrained(out / "sharded-variant", variant="fp16", max_shard_size=5000)
    (out / "order.json").write_text(json.dumps(list(unet.state_dict())))


def write_legacy(out: Path, order: list) -> None:
    """The same network under the old names of its attention weights, which diffusers must take too."""
    unet = tiny_unet()
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    tensors = {}
    for name, tensor in unet.state_dict().items():
        for today, before in old.items():
            name = name.replace(today, before)
        tensors[name] = tensor
    assert list(tensors) != order
    unet.save_config(out)
    save_file(tensors, out / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    loaded = UNet2DModel.from_pretrained(out).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in unet.state_dict().items())


def write_numbers(out: Path) -> None:
    """A config with thousands of floats of all magnitudes, as Python prints them."""
    source = random.Random(3)
    floats = [struct.unpack("<d", source.randbytes(8))[0] for _ in range(3000)]
    floats += [sign * digits * 10.0**power for power in range(-12, 25) for digits in (1, 2.5) for sign in (1, -1)]
    floats = [value for value in floats if value == value and abs(value) != float("inf")]
    config = {
        "_class_name": "DDIMScheduler", "_diffusers_version": diffusers.__version__, "trained_betas": floats + [0.0, -0.0],
        "a_list": [0, -1, 2**53 - 1, 0.1, True, None, [], {}, "é\u2028\x7f\U0001f600/"], "steps_offset": 1, "inf": [float("inf"), float("nan")],
    }
    out.mkdir(parents=True)
    (out / "scheduler_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    warnings.filterwarnings("ignore", category=FutureWarning)
    write_tensors(out / "tensors")
    write_models(out / "models")
    write_legacy(out / "legacy", json.loads((out / "models" / "order.json").read_text()))
    for i, (name, settings) in enumerate(SCHEDULERS):
        getattr(diffusers, name)(**settings).save_pretrained(out / "schedulers" / f"{i:02d}")
    tiny_vqvae(scaling_factor=1.0).save_pretrained(out / "vqvae")
    write_numbers(out / "numbers")
    LDMPipeline(vqvae=tiny_vqvae(), unet=tiny_unet(), scheduler=DDIMScheduler()).save_pretrained(out / "pipeline")


if __name__ == "__main__":
    main()
