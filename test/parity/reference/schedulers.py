"""Step diffusers' DDIMScheduler through whole trajectories, for test/parity/schedulers.test.ts and test/schedulers/ddim-scheduler.test.ts.

    python test/parity/reference/schedulers.py --out DIR [--golden]

Writes DIR/<case>/case.json (config and options) and DIR/<case>/tensors.safetensors (inputs and expected outputs).
`--golden` writes the few small cases that are committed in test/fixtures/schedulers.
"""

from pathlib import Path

import numpy
import torch
from common import case_folder, parse_arguments, seeded, write_case
from diffusers import DDIMScheduler
from scheduler_cases import GOLDEN as GOLDEN_RUNS
from scheduler_cases import write_cases

LDM = {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195, "clip_sample": False}
COSINE = {"beta_schedule": "squaredcos_cap_v2"}
ZERO_SNR = {**LDM, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
TRAINED = [0.001 + 0.0004 * i**1.5 for i in range(40)]

# name: (config, options of the run)
TRAJECTORIES = {
    "defaults": ({}, {}),
    "defaults-eta": ({}, {"eta": 0.7}),
    "defaults-generators": ({}, {"eta": 0.7, "noise": "generators"}),
    "defaults-variance-noise": ({}, {"eta": 0.7, "noise": "tensor"}),
    "eta-one": ({}, {"eta": 1.0}),
    "every-step": ({"clip_sample": False}, {"eta": 0.7, "steps": 1000, "shape": [1, 1, 2, 2]}),
    "ldm": (LDM, {"steps": 50}),
    "ldm-eta": (LDM, {"eta": 0.3, "steps": 50}),
    "one-step": (LDM, {"steps": 1}),
    "cosine": (COSINE, {"eta": 0.7}),
    "cosine-4000": ({**COSINE, "num_train_timesteps": 4000}, {"steps": 17}),
    "trained-betas": ({"trained_betas": TRAINED, "num_train_timesteps": 40}, {"eta": 0.5, "steps": 9}),
    "trained-betas-more": ({"trained_betas": TRAINED, "num_train_timesteps": 30}, {"steps": 7}),
    "few-timesteps": ({"num_train_timesteps": 37}, {"steps": 37, "eta": 0.9}),
    "alpha-not-one": ({"set_alpha_to_one": False}, {"eta": 0.7}),
    "steps-offset": ({"steps_offset": 1, "set_alpha_to_one": False}, {"eta": 0.7, "steps": 50}),
    "clip-range": ({"clip_sample_range": 2.5}, {"eta": 0.7}),
    "clip-reused": ({}, {"eta": 0.7, "clipped": True}),
    "clip-reused-sample": ({"prediction_type": "sample", "clip_sample_range": 0.3}, {"clipped": True}),
    "clip-reused-velocity": ({"prediction_type": "v_prediction", "clip_sample_range": 0.3}, {"clipped": True, "eta": 0.2}),
    "sample": ({**LDM, "prediction_type": "sample"}, {"eta": 0.7}),
    "velocity": ({**LDM, "prediction_type": "v_prediction"}, {"eta": 0.7}),
    "thresholding": ({"thresholding": True, "sample_max_value": 1.5}, {"eta": 0.7}),
    "thresholding-ratio": ({"thresholding": True, "dynamic_thresholding_ratio": 0.6, "sample_max_value": 4.0}, {"clipped": True}),
    "thresholding-below-one": ({"thresholding": True, "sample_max_value": 0.8, "prediction_type": "v_prediction"}, {"eta": 0.1}),
    "linspace": ({**LDM, "timestep_spacing": "linspace"}, {"eta": 0.7, "steps": 13}),
    "trailing": ({**LDM, "timestep_spacing": "trailing"}, {"eta": 0.7, "steps": 13}),
    "zero-snr-velocity": ({**ZERO_SNR, "prediction_type": "v_prediction"}, {"eta": 0.7}),
    "zero-snr-sample": ({**ZERO_SNR, "prediction_type": "sample", "set_alpha_to_one": False}, {"eta": 0.5}),
    "zero-snr-cosine": ({**COSINE, **{"rescale_betas_zero_snr": True}}, {"eta": 0.7}),
    "zero-snr-clipped-epsilon": ({**ZERO_SNR, "clip_sample": True}, {"eta": 0.7}),
    "zero-snr-linear-linspace": ({"rescale_betas_zero_snr": True, "timestep_spacing": "linspace", "prediction_type": "v_prediction"}, {"eta": 0.7}),
    "odd-betas": ({"beta_start": 0.3, "beta_end": 0.001, "num_train_timesteps": 20}, {"steps": 7, "eta": 0.7}),
    "float64": (LDM, {"eta": 0.7, "dtype": "float64"}),
    "bfloat16": (LDM, {"eta": 0.7, "dtype": "bfloat16"}),
    "float16": ({}, {"eta": 0.7, "dtype": "float16"}),
    "bfloat16-thresholding": ({"thresholding": True, "sample_max_value": 1.5}, {"dtype": "bfloat16"}),
    "float16-generators": ({**LDM, "prediction_type": "v_prediction"}, {"eta": 0.7, "dtype": "float16", "noise": "generators"}),
    "bfloat16-clip-reused": ({"prediction_type": "sample"}, {"dtype": "bfloat16", "clipped": True, "eta": 0.5}),
}

GOLDEN = {
    "ldm-eta": (LDM, {"eta": 0.7, "steps": 4, "shape": [2, 3, 4, 4]}),
    "clip-reused": ({"steps_offset": 1, "clip_sample_range": 0.8}, {"eta": 0.5, "steps": 4, "clipped": True, "noise": "generators", "shape": [2, 3, 4, 4]}),
    "thresholding": ({**COSINE, "thresholding": True, "sample_max_value": 1.5, "timestep_spacing": "linspace"}, {"steps": 4, "shape": [2, 3, 4, 4]}),
    "zero-snr-velocity": ({**ZERO_SNR, "prediction_type": "v_prediction"}, {"eta": 0.7, "steps": 4, "noise": "tensor", "shape": [2, 3, 4, 4]}),
}

# Whole tables of alphas_cumprod: what the cosine's and the root's doubles round to must be right everywhere.
TABLES = [
    {**schedule, "num_train_timesteps": count, "rescale_betas_zero_snr": rescale}
    for schedule in ({}, LDM, COSINE, {"beta_start": 1e-5, "beta_end": 0.03}, {"beta_schedule": "scaled_linear", "beta_start": 0.02, "beta_end": 1e-4})
    for count in (2, 3, 7, 37, 64, 100, 250, 500, 999, 1000, 1024, 2000, 4000)
    for rescale in (False, True)
]

SPACINGS = [
    {"num_train_timesteps": count, "timestep_spacing": spacing, "steps_offset": offset}
    for count in (1, 2, 10, 37, 100, 1000)
    for spacing in ("leading", "linspace", "trailing")
    for offset in ((0, 1) if spacing == "leading" else (0,))
]


def save_case(out: Path, name: str, case: dict, tensors: dict) -> None:
    write_case(case_folder(out, name), case, tensors)


def generator_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trajectory(config: dict, options: dict) -> tuple[dict, dict]:
    """Step through a whole run; the network's outputs are noise, so that every step meets values of all sizes."""
    options = {"eta": 0.0, "steps": 10, "shape": [3, 3, 8, 8], "noise": "generator", "clipped": False, "dtype": "float32", **options}
    dtype = getattr(torch, options["dtype"])
    batch = options["shape"][0]
    scheduler = DDIMScheduler(**config)
    scheduler.set_timesteps(options["steps"])
    source = generator_of(1000)
    draw = lambda: torch.randn(options["shape"], generator=source).to(dtype)  # noqa: E731
    sample = draw()
    tensors = {"sample": sample, "alphas_cumprod": scheduler.alphas_cumprod}
    generator = [generator_of(10 + i) for i in range(batch)] if options["noise"] == "generators" else generator_of(10)
    outputs, noises, previous, originals = [], [], [], []
    for t in scheduler.timesteps:
        outputs.append(draw())
        extra = {"generator": generator}
        if options["noise"] == "tensor":
            noises.append(draw())
            extra = {"variance_noise": noises[-1]}
        result = scheduler.step(outputs[-1], t, sample, eta=options["eta"], use_clipped_model_output=options["clipped"], **extra)
        sample = result.prev_sample
        previous.append(sample)
        originals.append(result.pred_original_sample)
    assert torch.stack(previous).isfinite().all()
    tensors |= {"model_outputs": torch.stack(outputs), "prev_samples": torch.stack(previous), "pred_original_samples": torch.stack(originals)}
    if noises:
        tensors["variance_noises"] = torch.stack(noises)
    return {"config": config, **options, "timesteps": scheduler.timesteps.tolist()}, tensors


def write_forward_process(out: Path) -> None:
    """Noised samples and velocities, one timestep for all and one a sample, in every dtype."""
    for dtype in ("float32", "float64", "float16", "bfloat16"):
        scheduler = DDIMScheduler(**LDM)
        clean, noise = (seeded((4, 3, 5, 7), seed, getattr(torch, dtype)) for seed in (1, 2))
        tensors = {"clean": clean, "noise": noise}
        timesteps = {"each": [0, 17, 500, 999], "one": [250]}
        for name, values in timesteps.items():
            tensors[f"noised.{name}"] = scheduler.add_noise(clean, noise, torch.tensor(values))
            tensors[f"velocity.{name}"] = scheduler.get_velocity(clean, noise, torch.tensor(values))
        save_case(out, f"forward-{dtype}", {"config": LDM, "timesteps": timesteps}, tensors)


def write_tables(out: Path) -> None:
    tensors = {}
    for i, config in enumerate(TABLES):
        tensors[str(i)] = DDIMScheduler(**config).alphas_cumprod
        assert tensors[str(i)].isfinite().all(), config
    save_case(out, "tables", {"configs": TABLES}, tensors)


def write_spacings(out: Path) -> None:
    """The timesteps of every number of steps; those that leave the table of alphas are to be refused."""
    tensors = {}
    for i, config in enumerate(SPACINGS):
        scheduler = DDIMScheduler(**config)
        runs = []
        for steps in range(1, config["num_train_timesteps"] + 1):
            scheduler.set_timesteps(steps)
            runs.append(scheduler.timesteps)
        tensors[f"{i}.lengths"] = torch.tensor([len(run) for run in runs])
        tensors[f"{i}.timesteps"] = torch.cat(runs)
    save_case(out, "spacings", {"configs": SPACINGS}, tensors)


def reason_of(config: dict, steps: int, eta: float) -> str:
    """What diffusers makes of a run that is broken; empty for one that is not."""
    scheduler = DDIMScheduler(**config)
    scheduler.set_timesteps(steps)
    sample = torch.randn(1, 3, 4, 4, generator=generator_of(0))
    # A timestep of -1 is no error there: it takes the last alpha for the first.
    if int(scheduler.timesteps.min()) < 0:
        return "negative timestep"
    try:
        for t in scheduler.timesteps:
            sample = scheduler.step(torch.randn(1, 3, 4, 4, generator=generator_of(1)), t, sample, eta=eta).prev_sample
    except IndexError:
        return "IndexError"
    return "" if sample.isfinite().all() else "not finite"


def write_broken(out: Path) -> None:
    """Settings that diffusers accepts and makes NaN, infinity or an IndexError of: proof that they are rightly refused."""
    broken = [
        ({"steps_offset": 1}, 1000, 0.0),
        ({"timestep_spacing": "trailing"}, 61, 0.0),
        ({**ZERO_SNR}, 10, 0.0),
        ({"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "thresholding": True}, 10, 0.0),
        ({**ZERO_SNR, "beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02, "prediction_type": "v_prediction"}, 10, 1.0),
        ({"beta_start": 0.0, "beta_end": 0.02}, 10, 0.0),
        ({"trained_betas": [0.5, 1.0, 0.5, 0.5], "num_train_timesteps": 4}, 4, 0.0),
    ]
    cases = []
    for config, steps, eta in broken:
        # Roots are rounded by the CPU: with eta 1 another number of steps breaks on another CPU.
        tried = {count: reason_of(config, count, eta) for count in ([steps] if eta == 0 else range(2, 62))}
        found = next(((count, reason) for count, reason in tried.items() if reason), None)
        assert found or eta > 0, config
        if found:
            cases.append({"config": config, "steps": found[0], "eta": eta, "reason": found[1]})
    save_case(out, "broken", {"cases": cases}, {"none": torch.zeros(1)})


def write_configs(out: Path) -> None:
    """What from_config makes of configs of other classes, with and without the note of defaulted keys."""
    from diffusers import DDPMScheduler, EulerDiscreteScheduler, PNDMScheduler

    sources = [
        DDPMScheduler(beta_schedule="scaled_linear", variance_type="fixed_large"),
        PNDMScheduler(skip_prk_steps=True, steps_offset=1),
        EulerDiscreteScheduler(),
        EulerDiscreteScheduler(timestep_spacing="trailing", use_karras_sigmas=True),
        DDIMScheduler(**LDM),
    ]
    cases = []
    for source in sources:
        target = DDIMScheduler.from_config(source.config)
        back = type(source).from_config(target.config)
        cases.append({"source": dict(source.config), "target": dict(target.config), "back": dict(back.config)})
    save_case(out, "configs", {"cases": cases}, {"none": torch.zeros(1)})


def main() -> None:
    arguments = parse_arguments(__doc__.splitlines()[0])
    numpy.seterr(all="ignore")
    for name, (config, options) in (GOLDEN if arguments.golden else TRAJECTORIES).items():
        save_case(arguments.out, name, *trajectory(config, options))
    if arguments.golden:
        write_cases(arguments.out, GOLDEN_RUNS)
        return
    write_cases(arguments.out)
    write_forward_process(arguments.out)
    write_tables(arguments.out)
    write_spacings(arguments.out)
    write_broken(arguments.out)
    write_configs(arguments.out)


if __name__ == "__main__":
    main()
