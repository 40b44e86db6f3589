"""What diffusers makes of odd settings of every scheduler, for test/parity/scheduler-settings.test.ts.

    python test/parity/reference/scheduler-settings.py --out DIR

Writes DIR/settings/case.json: for each class and setting, whether the constructor takes it, and for some numbers of steps whether a run
comes to its end with finite numbers.
"""

import inspect
import warnings

import diffusers
import numpy
import torch
from common import case_folder, parse_arguments, seeded, write_case

CLASSES = [
    "DDIMScheduler",
    "DDPMScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "DPMSolverSDEScheduler",
    "DEISMultistepScheduler",
    "UniPCMultistepScheduler",
    "SASolverScheduler",
    "TCDScheduler",
    "LCMScheduler",
    "DDIMInverseScheduler",
]

COUNTS = [1, 4, 10]

FLAGS = [True, False]

# The values to try for each key, alone; a class is given those of its own keys.
ODD = {
    "num_train_timesteps": [1, 2, 10, 4000],
    "beta_start": [0.0, 0.5, 1.0, 2.0],
    "beta_end": [0.0, 1e-10, 0.9, 1.0, 2.0],
    "beta_schedule": ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace", "exp", "nonsense"],
    "trained_betas": [[0.1, 0.2], [0.001] * 1000, [0.01] * 30, [0.0] * 1000, [1.5] * 1000],
    "prediction_type": ["epsilon", "sample", "v_prediction", "flow_prediction", "nonsense"],
    "timestep_spacing": ["leading", "linspace", "trailing", "nonsense"],
    "steps_offset": [0, 1, 10, 999, 1000],
    "thresholding": FLAGS,
    "clip_sample": FLAGS,
    "clip_sample_range": [0.5, 3.0],
    "use_karras_sigmas": FLAGS,
    "use_exponential_sigmas": FLAGS,
    "use_beta_sigmas": FLAGS,
    "use_lu_lambdas": FLAGS,
    "use_flow_sigmas": FLAGS,
    "flow_shift": [3.0],
    "use_dynamic_shifting": FLAGS,
    "time_shift_type": ["exponential", "linear"],
    "shift_terminal": [0.1],
    "final_sigmas_type": ["zero", "sigma_min", "nonsense"],
    "rescale_betas_zero_snr": FLAGS,
    "set_alpha_to_one": FLAGS,
    "skip_prk_steps": FLAGS,
    "solver_order": [0, 1, 2, 3, 4, 5],
    "predictor_order": [0, 1, 3, 4, 5],
    "corrector_order": [0, 1, 3, 4, 5],
    "algorithm_type": ["dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++", "deis", "data_prediction", "noise_prediction", "nonsense"],
    "solver_type": ["midpoint", "heun", "logrho", "bh1", "bh2", "nonsense"],
    "lower_order_final": FLAGS,
    "euler_at_final": FLAGS,
    "lambda_min_clipped": [-5.1, -1.0, 100.0],
    "variance_type": ["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range", "nonsense"],
    "interpolation_type": ["linear", "log_linear", "nonsense"],
    "timestep_type": ["discrete", "continuous"],
    "sigma_min": [0.05],
    "sigma_max": [20.0],
    "predict_x0": FLAGS,
    "disable_corrector": [[], [0, 1], [500]],
    "original_inference_steps": [1, 4, 100, 2000],
    "timestep_scaling": [0.0, 1.0, -3.0],
    "noise_sampler_seed": [0, 7],
}

# Keys that act only together.
PAIRS = [
    {"use_karras_sigmas": True, "use_beta_sigmas": True},
    {"use_karras_sigmas": True, "final_sigmas_type": "sigma_min"},
    {"use_karras_sigmas": True, "solver_order": 3, "lower_order_final": False},
    {"use_karras_sigmas": True, "sigma_min": 0.05, "sigma_max": 20.0},
    {"use_exponential_sigmas": True, "final_sigmas_type": "sigma_min"},
    {"use_beta_sigmas": True, "timestep_spacing": "trailing"},
    {"timestep_spacing": "trailing", "final_sigmas_type": "sigma_min"},
    {"timestep_spacing": "trailing", "solver_order": 3, "lower_order_final": False},
    {"timestep_spacing": "leading", "steps_offset": 1, "prediction_type": "v_prediction"},
    {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
    {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"},
    {"rescale_betas_zero_snr": True, "prediction_type": "sample"},
    {"thresholding": True, "algorithm_type": "noise_prediction"},
    {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
    {"algorithm_type": "sde-dpmsolver", "final_sigmas_type": "sigma_min"},
    {"algorithm_type": "sde-dpmsolver", "final_sigmas_type": "sigma_min", "solver_order": 3},
    {"algorithm_type": "sde-dpmsolver++", "solver_order": 3},
    {"algorithm_type": "dpmsolver++", "solver_order": 3, "lower_order_final": False},
    {"predict_x0": False, "final_sigmas_type": "sigma_min"},
    {"solver_type": "bh1", "final_sigmas_type": "sigma_min"},
    {"solver_type": "heun", "lower_order_final": False},
    {"lower_order_final": False, "final_sigmas_type": "sigma_min"},
    {"clip_sample": False, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
    {"set_alpha_to_one": False, "prediction_type": "sample"},
    {"skip_prk_steps": True, "timestep_spacing": "trailing"},
]


def outcome(kind, config, count):
    """Whether a run of so many steps ends with finite numbers: "" or what happened instead."""
    scheduler = kind(**config)
    try:
        scheduler.set_timesteps(count)
        timesteps = [float(t) for t in scheduler.timesteps]
        if not timesteps or not all(0 <= t < scheduler.config.num_train_timesteps for t in timesteps):
            return "timesteps outside those of training"
        sample = seeded((2, 3, 4, 4), 1, torch.float32) * float(scheduler.init_noise_sigma)
        for i, t in enumerate(scheduler.timesteps):
            scheduler.scale_model_input(sample, t)
            sample = scheduler.step(seeded((2, 3, 4, 4), 2 + i, torch.float32), t, sample).prev_sample
            if not sample.isfinite().all():
                return "not finite"
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"[:120]
    return ""


def settings_of(kind):
    keys = set(inspect.signature(kind.__init__).parameters) - {"self", "kwargs"}
    alone = [{key: value} for key, values in ODD.items() if key in keys for value in values]
    return [{}, *alone, *(pair for pair in PAIRS if set(pair) <= keys)]


def main():
    arguments = parse_arguments(__doc__.splitlines()[0])
    # Tensors of 96 numbers: more threads would only wait for each other.
    torch.set_num_threads(1)
    numpy.seterr(all="ignore")
    warnings.simplefilter("ignore")
    diffusers.utils.logging.set_verbosity_error()
    cases = []
    for name in CLASSES:
        kind = getattr(diffusers, name)
        for config in settings_of(kind):
            case = {"class": name, "config": config, "refused": "", "runs": {}}
            try:
                kind(**config)
            except Exception as error:  # noqa: BLE001
                case["refused"] = f"{type(error).__name__}: {error}"[:120]
            else:
                case["runs"] = {count: outcome(kind, config, count) for count in COUNTS}
            cases.append(case)
    write_case(case_folder(arguments.out, "settings"), {"cases": cases}, {"none": torch.zeros(1)})


if __name__ == "__main__":
    main()
