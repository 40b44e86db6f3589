"""Generate images with every scheduler, for test/parity/scheduler-pipelines.test.ts.

    python test/parity/reference/scheduler-pipelines.py --out DIR

Writes DIR/<scheduler>/checkpoint (saved by diffusers), case.json and tensors.safetensors as pipelines.py does. The oracle is the pipeline's
loop, unrolled: it passes the generators to the steps, and reads `init_noise_sigma` after `set_timesteps`.
"""

import inspect
import warnings

import diffusers
import numpy
import torch
from common import case_folder, parse_arguments, randomize, write_case
from diffusers import LDMPipeline, UNet2DModel, VQModel
from diffusers.utils import logging
from diffusers.utils.torch_utils import randn_tensor
from pipelines import LDM, UNET, VQ, generators
from scheduler_cases import BrownianNoise

# class: what its steps take beside a generator; Brownian noise is drawn from one generator only
SCHEDULERS = {
    "DDIMScheduler": {"eta": 0.7},
    "DDPMScheduler": {},
    "PNDMScheduler": {},
    "LMSDiscreteScheduler": {},
    "EulerDiscreteScheduler": {},
    "EulerAncestralDiscreteScheduler": {},
    "HeunDiscreteScheduler": {},
    "KDPM2DiscreteScheduler": {},
    "KDPM2AncestralDiscreteScheduler": {},
    "DPMSolverMultistepScheduler": {},
    "DPMSolverSinglestepScheduler": {},
    "DPMSolverSDEScheduler": {},
    "DEISMultistepScheduler": {},
    "UniPCMultistepScheduler": {},
    "SASolverScheduler": {},
    "TCDScheduler": {"eta": 0.3},
    "LCMScheduler": {},
}


@torch.no_grad()
def run_loop(pipe, run):
    scheduler, unet, vqvae = pipe.scheduler, pipe.unet, pipe.vqvae
    generator = generators(run["seeds"])
    scheduler.set_timesteps(run["steps"])
    size = unet.config.sample_size
    latents = randn_tensor((run["batch"], unet.config.in_channels, size, size), generator=generator) * scheduler.init_noise_sigma
    taken = inspect.signature(scheduler.step).parameters
    extra = {name: value for name, value in {"eta": run["eta"], "generator": generator}.items() if name in taken}
    if hasattr(scheduler, "noise_sampler"):
        scheduler.noise_sampler = BrownianNoise(scheduler, latents, generator)
    for t in scheduler.timesteps:
        prediction = unet(scheduler.scale_model_input(latents, t), t).sample
        latents = scheduler.step(prediction, t, latents, **extra).prev_sample
    image = vqvae.decode(latents / vqvae.config.scaling_factor).sample
    return (image / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()


def write_pipeline(out, name, step):
    folder = case_folder(out, name)
    known = inspect.signature(getattr(diffusers, name).__init__).parameters
    scheduler = getattr(diffusers, name)(**{key: value for key, value in LDM.items() if key in known})
    pipe = LDMPipeline(vqvae=randomize(VQModel(**VQ), seed=2), unet=randomize(UNet2DModel(**UNET), seed=1), scheduler=scheduler)
    pipe.save_pretrained(folder / "checkpoint")
    runs, tensors = [], {}
    for seeds in (5,) if name == "DPMSolverSDEScheduler" else (5, [11, 12]):
        run = {"batch": 2, "seeds": seeds, "steps": 6, "dtype": "float32", "eta": step.get("eta", 0.0), "oracle": "run_loop"}
        array = run_loop(pipe, run)
        assert numpy.isfinite(array).all()
        tensors[f"{len(runs)}.array"] = torch.from_numpy(array)
        tensors[f"{len(runs)}.image"] = torch.from_numpy((array * 255).round().astype("uint8"))
        runs.append(run)
    write_case(folder, {"runs": runs, "exports": []}, tensors)


def main():
    arguments = parse_arguments(__doc__.splitlines()[0])
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    for name, step in SCHEDULERS.items():
        write_pipeline(arguments.out, name, step)


if __name__ == "__main__":
    main()
