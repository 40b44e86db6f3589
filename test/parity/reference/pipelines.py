"""Generate images with diffusers' LDMPipeline, for test/parity/pipelines.test.ts and test/pipelines/ldm-pipeline.test.ts.

    python test/parity/reference/pipelines.py --out DIR [--golden]
    python test/parity/reference/pipelines.py --load CHECKPOINT --out DIR
    python test/parity/reference/pipelines.py --case NAME --dtype DTYPE --load CHECKPOINT --out DIR

Writes DIR/<case>/checkpoint (saved by diffusers, and loaded again for all that follows), DIR/<case>/torchscript-<dtype> (exported by models/export_torchscript.py),
DIR/<case>/case.json (the runs) and DIR/<case>/tensors.safetensors (their images, as arrays and as 8-bit pictures).
`--golden` writes the small case that is committed in test/fixtures/pipelines. `--load` generates from a checkpoint that the
Node side has saved. `--case` computes the runs of one case in one dtype, and nothing else. Tensors under "aligned" are what
exports in float32 give: TorchScript has its weights at the beginning of allocations.

The oracle is the pipeline itself where it can do what ours does, and else its loop, unrolled: see `run_loop`.
"""

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy
import torch
from diffusers.utils import logging

# The command line is tried once, below; importing diffusers anew for each export would take longer than all else.
MODELS = Path(__file__).resolve().parents[3] / "models"
sys.path.append(str(MODELS))
import export_torchscript  # noqa: E402
from common import align, case_folder, randomize, set_threads, write_case  # noqa: E402
from diffusers import DDIMScheduler, LDMPipeline, UNet2DModel, VQModel  # noqa: E402
from diffusers.utils.torch_utils import randn_tensor  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

EXPORT = MODELS / "export_torchscript.py"

LDM = {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195, "clip_sample": False}
UNET = {
    "sample_size": 8, "layers_per_block": 1, "block_out_channels": (16, 32), "norm_num_groups": 8, "attention_head_dim": 8,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}
VQ = {
    "block_out_channels": (8, 16), "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
    "norm_num_groups": 4, "num_vq_embeddings": 32, "scaling_factor": 0.8,
}
TINY_UNET = {**UNET, "block_out_channels": (8, 8), "norm_num_groups": 4, "attention_head_dim": 4}
TINY_VQ = {**VQ, "block_out_channels": (4, 8), "num_vq_embeddings": 16}

ALL_RUNS = [
    {"batch": batch, "eta": eta, "seeds": seeds}
    for batch in (1, 3)
    for eta in (0.0, 0.7)
    for seeds in (5, [11, 12, 13][:batch])
]
ONE_RUN = [{"batch": 2, "eta": 0.7, "seeds": 5}]

# name: networks, scheduler, runs, dtypes to export
CASES = {
    "ldm": {
        "unet": UNET, "vq": VQ, "scheduler": LDM, "export": ["float32", "bfloat16"],
        "runs": [
            *ALL_RUNS,
            {"batch": 2, "eta": 0.7, "seeds": 5, "steps": 20},
            {"batch": 1, "eta": 0.0, "seeds": 5, "steps": 1},
            {"batch": 2, "eta": 0.7, "seeds": 7, "size": [24, 40]},
            *({**run, "dtype": dtype} for dtype in ("bfloat16", "float16", "float64") for run in (ONE_RUN[0], {"batch": 2, "eta": 0.0, "seeds": [3, 4]})),
        ],
    },
    "clipped-velocity": {
        "unet": {**UNET, "in_channels": 4, "out_channels": 4}, "vq": {**VQ, "latent_channels": 4, "scaling_factor": 1.0},
        "scheduler": {"prediction_type": "v_prediction", "timestep_spacing": "trailing", "rescale_betas_zero_snr": True},
        "runs": ALL_RUNS, "export": ["float32"],
    },
    "grey": {
        "unet": {**UNET, "in_channels": 2, "out_channels": 2}, "vq": {**VQ, "latent_channels": 5, "vq_embed_dim": 2, "in_channels": 1, "out_channels": 1},
        "scheduler": {**LDM, "steps_offset": 1, "set_alpha_to_one": False}, "runs": ALL_RUNS[:4],
    },
    "thresholded": {
        "unet": UNET, "vq": {**VQ, "block_out_channels": (32, 32), "norm_type": "spatial"}, "scheduler": {**LDM, "thresholding": True, "sample_max_value": 2.0, "timestep_spacing": "linspace"},
        "runs": ALL_RUNS[4:],
    },
    "not-square": {"unet": {**UNET, "sample_size": [8, 12]}, "vq": VQ, "scheduler": LDM, "runs": ONE_RUN, "export": ["float32"]},
    "learned-variance": {"unet": {**UNET, "out_channels": 6}, "vq": VQ, "scheduler": LDM, "runs": ALL_RUNS[4:], "export": ["float32"]},
    "older-than-scaling-factor": {"unet": UNET, "vq": {**VQ, "scaling_factor": 1.0}, "scheduler": LDM, "runs": ONE_RUN, "forget": True, "export": ["float32"]},
}

GOLDEN = {
    "tiny": {
        "unet": TINY_UNET, "vq": TINY_VQ, "scheduler": LDM,
        "runs": [{"batch": 2, "eta": 0.0, "seeds": 5, "steps": 3}, {"batch": 2, "eta": 0.7, "seeds": [1, 2], "steps": 3}],
    },
}


def save_pipeline(case: dict, checkpoint: Path) -> None:
    unet = randomize(UNet2DModel(**case["unet"]), seed=1)
    vqvae = randomize(VQModel(**case["vq"]), seed=2)
    LDMPipeline(vqvae=vqvae, unet=unet, scheduler=DDIMScheduler(**case["scheduler"])).save_pretrained(checkpoint)


def load_pipeline(checkpoint: Path) -> LDMPipeline:
    """What people run: loaded, not made, since the addresses of the weights have a part in the last bits."""
    pipe = LDMPipeline.from_pretrained(checkpoint)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def generators(seeds):
    """One generator, or one an image. The global one where there is one, since the pipeline's steps draw from that."""
    if isinstance(seeds, list):
        return [torch.Generator().manual_seed(seed) for seed in seeds]
    return torch.manual_seed(seeds)


def can_pipeline(pipe: LDMPipeline, run: dict) -> bool:
    """Whether diffusers' pipeline itself can do a run."""
    own_noise = run["eta"] == 0.0 or not isinstance(run["seeds"], list)
    unet = pipe.unet.config
    return own_noise and "size" not in run and run["dtype"] == "float32" and isinstance(unet.sample_size, int) and unet.out_channels == unet.in_channels


def run_pipeline(pipe: LDMPipeline, run: dict) -> numpy.ndarray:
    return pipe(batch_size=run["batch"], generator=generators(run["seeds"]), eta=run["eta"], num_inference_steps=run["steps"], output_type="np").images


def as_dtype(network, dtype: torch.dtype):
    """A network in another dtype; a copy, since casting in place and back would lose bits."""
    return network if network.dtype == dtype else copy.deepcopy(network).to(dtype)


@torch.no_grad()
def run_loop(pipe: LDMPipeline, run: dict) -> numpy.ndarray:
    """LDMPipeline.__call__, unrolled, with what it lacks: generators for the steps, latents of the networks' dtype (drawn in
    float32, then cast), other sizes, and networks that learned the variance (the second half of the channels is left)."""
    dtype = getattr(torch, run["dtype"])
    unet, vqvae, scheduler = as_dtype(pipe.unet, dtype), as_dtype(pipe.vqvae, dtype), pipe.scheduler
    scale = 2 ** (len(vqvae.config.block_out_channels) - 1)
    size = unet.config.sample_size
    height, width = [side // scale for side in run["size"]] if "size" in run else size if isinstance(size, (list, tuple)) else (size, size)
    generator = generators(run["seeds"])
    scheduler.set_timesteps(run["steps"])
    latents = randn_tensor((run["batch"], unet.config.in_channels, height, width), generator=generator)
    latents = (latents * scheduler.init_noise_sigma).to(dtype)
    for t in scheduler.timesteps:
        prediction = unet(scheduler.scale_model_input(latents, t), t).sample[:, : unet.config.in_channels]
        latents = scheduler.step(prediction, t, latents, eta=run["eta"], generator=generator).prev_sample
    image = vqvae.decode(latents / vqvae.config.scaling_factor).sample
    image = (image / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    return (image if dtype == torch.float64 else image.float()).numpy()


def run_case(pipe: LDMPipeline, runs: list) -> tuple[dict, dict]:
    described, tensors = [], {}
    for i, run in enumerate(runs):
        oracle = run_pipeline if can_pipeline(pipe, run) else run_loop
        array = oracle(pipe, run)
        if oracle is run_pipeline:
            # The loop must be the pipeline wherever both can be asked.
            assert numpy.array_equal(array, run_loop(pipe, run))
        pictures = numpy.stack([numpy.asarray(picture) for picture in pipe.numpy_to_pil(array)])
        assert len(numpy.unique(pictures)) > 50, "pictures too plain to tell anything"
        tensors[f"{i}.array"] = torch.from_numpy(array.astype(numpy.float32))
        tensors[f"{i}.image"] = torch.from_numpy(pictures.reshape(array.shape).copy())
        described.append({**run, "oracle": oracle.__name__})
    return {"runs": described}, tensors


def complete(runs: list) -> list:
    return [{"steps": 5, "dtype": "float32", **run} for run in runs]


def run_alone(name: str, runs: list, checkpoint: Path) -> tuple[dict, dict]:
    """Compute the runs of each dtype in a fresh process. On a CPU without 16-bit matrix products (AMD Zen 4) the last bits of float16
    were seen to depend on what the process had computed before, and a fresh process is what users run."""
    described, tensors = [None] * len(runs), {}
    for dtype in dict.fromkeys(run["dtype"] for run in runs):
        places = [i for i, run in enumerate(runs) if run["dtype"] == dtype]
        with tempfile.TemporaryDirectory() as out:
            subprocess.run([sys.executable, __file__, "--case", name, "--dtype", dtype, "--load", checkpoint, "--out", out], check=True)
            part = json.loads((Path(out) / "case.json").read_text())["runs"]
            for j, i in enumerate(places):
                described[i] = part[j]
            for key, tensor in load_file(Path(out) / "tensors.safetensors").items():
                j, kind = key.split(".")
                tensors[f"{places[int(j)]}.{kind}"] = tensor
    return {"runs": described}, tensors


def write_runs(name: str, dtype: str, checkpoint: Path, out: Path) -> None:
    runs = [run for run in complete(CASES[name]["runs"]) if run["dtype"] == dtype]
    description, tensors = run_case(load_pipeline(checkpoint), runs)
    write_case(out, description, tensors)


def write_pipeline_case(out: Path, name: str, case: dict) -> None:
    folder = case_folder(out, name)
    checkpoint = folder / "checkpoint"
    save_pipeline(case, checkpoint)
    pipe = load_pipeline(checkpoint)
    if case.get("forget"):
        forget_scaling_factor(checkpoint)
    for dtype in case.get("export", []):
        target = folder / f"torchscript-{dtype}"
        if name == "ldm":
            subprocess.run([sys.executable, EXPORT, checkpoint, target, "--dtype", dtype], check=True, stdout=subprocess.DEVNULL)
        else:
            export_torchscript.export(checkpoint, target, getattr(torch, dtype))
    runs = complete(case["runs"])
    several = len({run["dtype"] for run in runs}) > 1
    description, tensors = run_alone(name, runs, checkpoint) if several else run_case(pipe, runs)
    if "float32" in case.get("export", []):
        tensors |= run_aligned(pipe, runs)
    write_case(folder, {**description, "exports": case.get("export", [])}, tensors)


def run_aligned(pipe: LDMPipeline, runs: list) -> dict:
    align(pipe.unet)
    align(pipe.vqvae)
    places = [i for i, run in enumerate(runs) if run["dtype"] == "float32"]
    tensors = run_case(pipe, [runs[i] for i in places])[1]
    return {f"aligned.{places[int(j)]}.{kind}": tensor for (j, kind), tensor in ((key.split("."), tensor) for key, tensor in tensors.items())}


def forget_scaling_factor(checkpoint: Path) -> None:
    """As files of the first releases are, whose pictures were decoded undivided."""
    path = checkpoint / "vqvae" / "config.json"
    config = json.loads(path.read_text())
    del config["scaling_factor"]
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def write_loaded(checkpoint: Path, out: Path) -> None:
    """Load what the Node side saved, strictly, and generate from it."""
    pipe, loading = load_pipeline(checkpoint), []
    for part, name in ((UNet2DModel, "unet"), (VQModel, "vqvae")):
        loading.append(part.from_pretrained(checkpoint / name, output_loading_info=True)[1])
    assert not any(found for info in loading for found in info.values()), loading
    description, tensors = run_case(pipe, complete(ALL_RUNS[:4]))
    configs = {name: dict(getattr(pipe, name).config) for name in ("unet", "vqvae", "scheduler")}
    write_case(out, {**description, "configs": configs}, tensors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--golden", action="store_true")
    parser.add_argument("--load", type=Path)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    set_threads()
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.set_verbosity_error()
    if arguments.case:
        return write_runs(arguments.case, arguments.dtype, arguments.load, arguments.out)
    if arguments.load:
        return write_loaded(arguments.load, arguments.out)
    for name, case in (GOLDEN if arguments.golden else CASES).items():
        write_pipeline_case(arguments.out, name, case)


if __name__ == "__main__":
    main()
