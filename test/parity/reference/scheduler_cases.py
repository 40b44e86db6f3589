"""Trajectories of every scheduler but DDIM, for test/parity/schedulers.test.ts. A case: class, config, steps, and what differs."""

import math

import torch
from common import case_folder, seeded, write_case

LDM = {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195}
V = {"prediction_type": "v_prediction"}
SAMPLE = {"prediction_type": "sample"}

# numpy's float32 log depends on the CPU; where a case's noise levels or timesteps are made of it, this is compared instead of bits.
LOG = 1e-5


def euler(name, config, steps, **options):
    return {"name": f"euler-{name}", "class": "EulerDiscreteScheduler", "config": config, "steps": steps, **options}


def ancestral(name, config, steps, **options):
    return {"name": f"euler-ancestral-{name}", "class": "EulerAncestralDiscreteScheduler", "config": config, "steps": steps, **options}


def heun(name, config, steps, **options):
    return {"name": f"heun-{name}", "class": "HeunDiscreteScheduler", "config": config, "steps": steps, **options}


def lms(name, config, steps, **options):
    return {"name": f"lms-{name}", "class": "LMSDiscreteScheduler", "config": config, "steps": steps, **options}


def ddpm(name, config, steps, **options):
    return {"name": f"ddpm-{name}", "class": "DDPMScheduler", "config": config, "steps": steps, **options}


def pndm(name, config, steps, **options):
    return {"name": f"pndm-{name}", "class": "PNDMScheduler", "config": config, "steps": steps, **options}


def dpm(name, config, steps, **options):
    return {"name": f"dpm-{name}", "class": "DPMSolverMultistepScheduler", "config": config, "steps": steps, **options}


def unipc(name, config, steps, **options):
    return {"name": f"unipc-{name}", "class": "UniPCMultistepScheduler", "config": config, "steps": steps, **options}


# The logarithms of a step's noise levels are numpy's too, and their differences cancel.
def deis(name, config, steps, tolerance=LOG, **options):
    return {"name": f"deis-{name}", "class": "DEISMultistepScheduler", "config": config, "steps": steps, "tolerance": tolerance, **options}


def sa(name, config, steps, **options):
    return {"name": f"sa-{name}", "class": "SASolverScheduler", "config": config, "steps": steps, **options}


def tcd(name, config, steps, **options):
    return {"name": f"tcd-{name}", "class": "TCDScheduler", "config": config, "steps": steps, **options}


def lcm(name, config, steps, **options):
    return {"name": f"lcm-{name}", "class": "LCMScheduler", "config": config, "steps": steps, **options}


def kdpm2(name, config, steps, **options):
    return {"name": f"kdpm2-{name}", "class": "KDPM2DiscreteScheduler", "config": config, "steps": steps, "log_timesteps": True, **options}


def kdpm2_ancestral(name, config, steps, **options):
    return {"name": f"kdpm2-ancestral-{name}", "class": "KDPM2AncestralDiscreteScheduler", "config": config, "steps": steps, "log_timesteps": True, **options}


def inverse(name, config, steps, **options):
    return {"name": f"ddim-inverse-{name}", "class": "DDIMInverseScheduler", "config": config, "steps": steps, **options}


def singlestep(name, config, steps, **options):
    return {"name": f"singlestep-{name}", "class": "DPMSolverSinglestepScheduler", "config": config, "steps": steps, **options}


def sde(name, config, steps, **options):
    return {"name": f"sde-{name}", "class": "DPMSolverSDEScheduler", "config": config, "steps": steps, "log_timesteps": True, **options}


NOISE = {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}
NOISE_SDE = {"algorithm_type": "sde-dpmsolver", "final_sigmas_type": "sigma_min"}
SA_NOISE = {"algorithm_type": "noise_prediction"}
CLEAN_SDE = {"algorithm_type": "sde-dpmsolver++"}
HEUN = {"solver_type": "heun"}
THIRD = {"solver_order": 3}
MIN = {"final_sigmas_type": "sigma_min"}

# tolerance: relative to the largest value; 0, the default, is bit for bit. log_timesteps: the timesteps alone are made of logarithms, and
# compared by LOG.
CASES = [
    euler("defaults", {}, 10),
    euler("one-step", LDM, 1),
    euler("hundred", LDM, 100),
    euler("velocity", {**LDM, **V}, 13),
    euler("sample", {**LDM, **SAMPLE}, 13),
    euler("leading", {**LDM, "timestep_spacing": "leading", "steps_offset": 1}, 20),
    euler("trailing", {**LDM, "timestep_spacing": "trailing", **V}, 20),
    euler("cosine", {"beta_schedule": "squaredcos_cap_v2"}, 17),
    euler("sigma-min", {**LDM, "final_sigmas_type": "sigma_min"}, 10),
    euler("zero-snr", {**LDM, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing", **V}, 10),
    euler("churn", LDM, 10, step={"s_churn": 3.0, "s_tmin": 0.05, "s_tmax": 10.0, "s_noise": 1.01}),
    euler("timesteps", LDM, None, lists={"timesteps": [999, 800, 500, 250, 100, 3]}),
    euler("bfloat16", {**LDM, **V}, 7, dtype="bfloat16"),
    euler("bfloat16-churn", LDM, 7, dtype="bfloat16", step={"s_churn": 3.0}),
    euler("karras", {**LDM, "use_karras_sigmas": True}, 15, tolerance=LOG),
    euler("karras-limits", {**LDM, "use_karras_sigmas": True, "sigma_min": 0.05, "sigma_max": 20.0}, 15, tolerance=LOG),
    euler("exponential", {**LDM, "use_exponential_sigmas": True}, 15, tolerance=LOG),
    euler("beta", {**LDM, "use_beta_sigmas": True}, 15, tolerance=LOG),
    euler("sigmas", LDM, None, lists={"sigmas": [14.0, 5.0, 1.0, 0.1, 0.0]}, tolerance=LOG),
    euler("log-linear", {**LDM, "interpolation_type": "log_linear"}, 9, tolerance=LOG),
    ancestral("defaults", {}, 10),
    ancestral("one-step", LDM, 1),
    ancestral("hundred", LDM, 100),
    ancestral("velocity", {**LDM, **V}, 13),
    ancestral("leading", {**LDM, "timestep_spacing": "leading", "steps_offset": 1}, 20),
    ancestral("zero-snr", {**LDM, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing", **V}, 10),
    ancestral("bfloat16", {**LDM, **V}, 7, dtype="bfloat16"),
    heun("defaults", {}, 10),
    heun("one-step", LDM, 1),
    heun("hundred", LDM, 100),
    heun("velocity", {**LDM, **V}, 13),
    heun("sample-clip", {**LDM, **SAMPLE, "clip_sample": True, "clip_sample_range": 0.7}, 13),
    heun("leading", {**LDM, "timestep_spacing": "leading", "steps_offset": 1}, 20),
    heun("exp", {"beta_schedule": "exp", "timestep_spacing": "trailing"}, 10),
    heun("timesteps", LDM, None, lists={"timesteps": [999, 800, 500, 250, 100, 3]}),
    heun("bfloat16", LDM, 7, dtype="bfloat16"),
    heun("karras", {**LDM, "use_karras_sigmas": True}, 15, tolerance=LOG),
    heun("beta", {**LDM, "use_beta_sigmas": True}, 15, tolerance=LOG),
    lms("defaults", {}, 10),
    lms("one-step", LDM, 1),
    lms("hundred", LDM, 100),
    lms("velocity", {**LDM, **V}, 13),
    lms("sample", {**LDM, **SAMPLE}, 13),
    lms("leading", {**LDM, "timestep_spacing": "leading", "steps_offset": 1}, 20),
    lms("order", LDM, 20, step={"order": 2}),
    lms("trailing", {**LDM, "timestep_spacing": "trailing"}, 9),
    lms("karras", {**LDM, "use_karras_sigmas": True}, 15, tolerance=LOG),
    lms("exponential", {**LDM, "use_exponential_sigmas": True}, 15, tolerance=LOG),
    ddpm("defaults", {}, 10),
    ddpm("hundred", {**LDM, "clip_sample": False}, 100),
    ddpm("one-step", LDM, 1),
    ddpm("small-log", {**LDM, "variance_type": "fixed_small_log"}, 13),
    ddpm("large", {**LDM, "variance_type": "fixed_large", **SAMPLE, "clip_sample_range": 0.7}, 13),
    ddpm("zero-snr", {**LDM, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing", **V}, 10),
    ddpm("thresholding", {**LDM, "thresholding": True, "sample_max_value": 2.0}, 9),
    ddpm("sigmoid", {"beta_schedule": "sigmoid", "timestep_spacing": "linspace"}, 10),
    ddpm("laplace", {"beta_schedule": "laplace", "steps_offset": 1}, 10),
    ddpm("timesteps", LDM, None, lists={"timesteps": [999, 800, 500, 250, 100, 3]}),
    ddpm("bfloat16", {**LDM, **V}, 7, dtype="bfloat16"),
    pndm("defaults", {}, 10),
    pndm("least", LDM, 4),
    pndm("hundred", LDM, 100),
    pndm("velocity", {**LDM, **V, "set_alpha_to_one": True}, 13),
    pndm("linspace", {**LDM, "timestep_spacing": "linspace"}, 9),
    pndm("skip", {**LDM, "skip_prk_steps": True, "steps_offset": 1}, 10),
    pndm("skip-one", {**LDM, "skip_prk_steps": True}, 1),
    pndm("skip-trailing", {**LDM, **V, "skip_prk_steps": True, "timestep_spacing": "trailing"}, 8),
    pndm("bfloat16", LDM, 7, dtype="bfloat16"),
    dpm("defaults", {}, 10),
    dpm("one-step", LDM, 1),
    dpm("hundred", LDM, 100),
    dpm("first", {**LDM, "solver_order": 1}, 10),
    dpm("third", {**LDM, **THIRD}, 20),
    dpm("third-short", {**LDM, **THIRD}, 9),
    dpm("heun", {**LDM, **HEUN}, 20),
    dpm("velocity", {**LDM, **V}, 13),
    dpm("sample", {**LDM, **SAMPLE}, 13),
    dpm("threshold", {**LDM, "thresholding": True, "sample_max_value": 1.5}, 10),
    dpm("sde", {**LDM, **CLEAN_SDE}, 20),
    dpm("sde-heun", {**LDM, **CLEAN_SDE, **HEUN, "euler_at_final": True, "final_sigmas_type": "sigma_min"}, 20),
    dpm("sde-third", {**LDM, **CLEAN_SDE, **THIRD, "lower_order_final": False}, 20),
    dpm("noise", {**LDM, **NOISE}, 20),
    dpm("noise-heun", {**LDM, **NOISE, **HEUN, **V}, 20),
    dpm("noise-third", {**LDM, **NOISE, **THIRD}, 20),
    dpm("noise-sample", {**LDM, **NOISE, **SAMPLE, "lower_order_final": False}, 10),
    dpm("noise-threshold", {**LDM, **NOISE, "thresholding": True}, 10),
    dpm("noise-sde", {**LDM, **NOISE_SDE}, 20),
    dpm("noise-sde-heun", {**LDM, **NOISE_SDE, **HEUN}, 20),
    dpm("noise-sde-first", {**LDM, **NOISE_SDE, "solver_order": 1}, 10),
    dpm("leading", {**LDM, "timestep_spacing": "leading", "steps_offset": 1}, 20),
    dpm("trailing", {**LDM, "timestep_spacing": "trailing"}, 9),
    dpm("zero-snr", {**LDM, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing", **V}, 10),
    dpm("clipped", {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1}, 17),
    dpm("timesteps", LDM, None, lists={"timesteps": [999, 800, 500, 250, 100, 3]}),
    dpm("bfloat16", {**LDM, **V}, 7, dtype="bfloat16"),
    dpm("bfloat16-sde", {**LDM, **CLEAN_SDE}, 7, dtype="bfloat16"),
    dpm("karras", {**LDM, "use_karras_sigmas": True}, 15, tolerance=LOG),
    dpm("lu", {**LDM, "use_lu_lambdas": True}, 15, tolerance=LOG),
    dpm("exponential", {**LDM, "use_exponential_sigmas": True}, 15, tolerance=LOG),
    dpm("beta", {**LDM, "use_beta_sigmas": True}, 15, tolerance=LOG),
    unipc("defaults", {}, 10),
    unipc("one-step", LDM, 1),
    unipc("two-steps", LDM, 2),
    unipc("hundred", LDM, 100),
    unipc("first", {**LDM, "solver_order": 1}, 10),
    unipc("third", {**LDM, **THIRD}, 20),
    unipc("fourth", {**LDM, "solver_order": 4}, 20),
    unipc("velocity", {**LDM, **V, **THIRD}, 13),
    unipc("sample", {**LDM, **SAMPLE}, 13),
    unipc("threshold", {**LDM, "thresholding": True, "sample_max_value": 1.5}, 10),
    unipc("uncorrected", {**LDM, **THIRD, "disable_corrector": [0, 1, 5]}, 12),
    unipc("bh1", {**LDM, **THIRD, "solver_type": "bh1", **MIN}, 12),
    unipc("no-lowering", {**LDM, **THIRD, "lower_order_final": False, **MIN}, 12),
    unipc("noise", {**LDM, "predict_x0": False, **MIN}, 20),
    unipc("noise-third", {**LDM, **THIRD, **V, "predict_x0": False, **MIN}, 20),
    unipc("noise-sample", {**LDM, **THIRD, **SAMPLE, "predict_x0": False, "solver_type": "bh1", **MIN}, 20),
    unipc("leading", {**LDM, "timestep_spacing": "leading", "steps_offset": 1}, 20),
    unipc("trailing", {**LDM, "timestep_spacing": "trailing"}, 9),
    unipc("zero-snr", {**LDM, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing", **V}, 10),
    unipc("bfloat16", {**LDM, **V, **THIRD}, 7, dtype="bfloat16"),
    unipc("karras", {**LDM, "use_karras_sigmas": True}, 15, tolerance=LOG),
    unipc("karras-limits", {**LDM, "use_karras_sigmas": True, "sigma_min": 0.05, "sigma_max": 20.0}, 15, tolerance=LOG),
    unipc("karras-min", {**LDM, "use_karras_sigmas": True, **MIN}, 15, tolerance=LOG),
    unipc("exponential", {**LDM, "use_exponential_sigmas": True}, 15, tolerance=LOG),
    unipc("beta", {**LDM, "use_beta_sigmas": True}, 15, tolerance=LOG),
    deis("defaults", {}, 10),
    deis("one-step", LDM, 1, tolerance=0),
    deis("hundred", LDM, 100),
    deis("first", {**LDM, "solver_order": 1}, 10, tolerance=0),
    deis("third", {**LDM, **THIRD}, 20),
    deis("third-short", {**LDM, **THIRD}, 9),
    deis("velocity", {**LDM, **V}, 13),
    deis("sample", {**LDM, **SAMPLE}, 13),
    deis("threshold", {**LDM, "thresholding": True, "sample_max_value": 1.5}, 10),
    deis("no-lowering", {**LDM, **THIRD, "lower_order_final": False}, 12),
    deis("leading", {**LDM, "timestep_spacing": "leading", "steps_offset": 1}, 20),
    deis("trailing", {**LDM, "timestep_spacing": "trailing"}, 9),
    deis("cosine", {"beta_schedule": "squaredcos_cap_v2", **THIRD}, 17),
    deis("bfloat16", {**LDM, **V}, 7, dtype="bfloat16"),
    deis("karras", {**LDM, "use_karras_sigmas": True}, 15),
    deis("exponential", {**LDM, "use_exponential_sigmas": True}, 15),
    deis("beta", {**LDM, "use_beta_sigmas": True}, 15),
    sa("defaults", {}, 10),
    sa("one-step", LDM, 1),
    sa("hundred", LDM, 100),
    sa("first", {**LDM, "predictor_order": 1, "corrector_order": 1}, 10),
    sa("third", {**LDM, "predictor_order": 3, "corrector_order": 3}, 20),
    sa("fourth", {**LDM, "predictor_order": 4, "corrector_order": 4}, 20),
    sa("uneven", {**LDM, "predictor_order": 1, "corrector_order": 4}, 12),
    sa("velocity", {**LDM, **V}, 13),
    sa("sample", {**LDM, **SAMPLE}, 13),
    sa("threshold", {**LDM, "thresholding": True, "sample_max_value": 1.5}, 10),
    sa("no-lowering", {**LDM, "predictor_order": 3, "corrector_order": 3, "lower_order_final": False}, 12),
    sa("noise", {**LDM, **SA_NOISE}, 20),
    sa("noise-fourth", {**LDM, **SA_NOISE, **V, "predictor_order": 4, "corrector_order": 4}, 20),
    sa("noise-sample", {**LDM, **SA_NOISE, **SAMPLE, "predictor_order": 3, "corrector_order": 2}, 12),
    sa("leading", {**LDM, "timestep_spacing": "leading", "steps_offset": 1}, 20),
    sa("trailing", {**LDM, "timestep_spacing": "trailing"}, 9),
    sa("clipped", {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1}, 17),
    sa("bfloat16", {**LDM, **V}, 7, dtype="bfloat16"),
    sa("karras", {**LDM, "use_karras_sigmas": True}, 15, tolerance=LOG),
    sa("exponential", {**LDM, "use_exponential_sigmas": True}, 15, tolerance=LOG),
    sa("beta", {**LDM, "use_beta_sigmas": True}, 15, tolerance=LOG),
    tcd("defaults", {}, 4),
    tcd("one-step", LDM, 1),
    tcd("most", LDM, 50),
    tcd("hundred", {**LDM, "original_inference_steps": 100}, 100),
    tcd("deterministic", LDM, 8, step={"eta": 0.0}),
    tcd("stochastic", {**LDM, **V}, 8, step={"eta": 1.0}),
    tcd("sample", {**LDM, **SAMPLE}, 7, step={"eta": 0.5}),
    tcd("zero-snr", {**LDM, **V, "rescale_betas_zero_snr": True}, 9),
    tcd("timesteps", LDM, None, lists={"timesteps": [999, 800, 500, 250, 100, 3]}),
    tcd("original", LDM, 7, lists={"original_inference_steps": 300, "strength": 0.7}),
    tcd("strength", LDM, 7, lists={"strength": 0.43}),
    tcd("bfloat16", {**LDM, **V}, 6, dtype="bfloat16"),
    lcm("defaults", {}, 4),
    lcm("one-step", LDM, 1),
    lcm("most", LDM, 50),
    lcm("hundred", {**LDM, "original_inference_steps": 100}, 100),
    lcm("velocity", {**LDM, **V}, 8),
    lcm("sample", {**LDM, **SAMPLE, "timestep_scaling": 0.01}, 7),
    lcm("clip", {**LDM, "clip_sample": True, "clip_sample_range": 0.7}, 7),
    lcm("threshold", {**LDM, "thresholding": True, "sample_max_value": 1.5}, 7),
    lcm("zero-snr", {**LDM, **V, "rescale_betas_zero_snr": True}, 9),
    lcm("timesteps", LDM, None, lists={"timesteps": [999, 800, 500, 250, 100, 3]}),
    lcm("original", LDM, 7, lists={"original_inference_steps": 300, "strength": 0.7}),
    lcm("bfloat16", {**LDM, **V}, 6, dtype="bfloat16"),
    singlestep("defaults", {}, 10),
    singlestep("one-step", LDM, 1),
    singlestep("hundred", LDM, 100),
    singlestep("odd", LDM, 13),
    singlestep("first", {**LDM, "solver_order": 1}, 10),
    singlestep("third", {**LDM, **THIRD}, 12),
    singlestep("third-one-more", {**LDM, **THIRD}, 13),
    singlestep("third-two-more", {**LDM, **THIRD, "lower_order_final": True}, 14),
    singlestep("third-two", {**LDM, **THIRD}, 2),
    singlestep("third-heun", {**LDM, **THIRD, **HEUN}, 12),
    singlestep("heun", {**LDM, **HEUN}, 20),
    singlestep("velocity", {**LDM, **V}, 14),
    singlestep("sample", {**LDM, **SAMPLE}, 14),
    singlestep("threshold", {**LDM, "thresholding": True, "sample_max_value": 1.5}, 10),
    singlestep("sigma-min", {**LDM, "final_sigmas_type": "sigma_min"}, 10),
    singlestep("sigma-min-lower", {**LDM, **THIRD, "final_sigmas_type": "sigma_min", "lower_order_final": True}, 9),
    singlestep("sigma-min-uneven", {**LDM, **THIRD, "final_sigmas_type": "sigma_min"}, 11),
    singlestep("sde", {**LDM, **CLEAN_SDE}, 20),
    singlestep("sde-heun", {**LDM, **CLEAN_SDE, **HEUN, "final_sigmas_type": "sigma_min"}, 20),
    singlestep("sde-third", {**LDM, **CLEAN_SDE, **THIRD}, 20),
    singlestep("sde-third-heun", {**LDM, **CLEAN_SDE, **THIRD, **HEUN}, 21),
    singlestep("noise", {**LDM, **NOISE}, 20),
    singlestep("noise-heun", {**LDM, **NOISE, **HEUN, **V}, 20),
    singlestep("noise-third", {**LDM, **NOISE, **THIRD}, 21),
    singlestep("noise-third-heun", {**LDM, **NOISE, **THIRD, **HEUN}, 21),
    singlestep("noise-sample", {**LDM, **NOISE, **SAMPLE}, 10),
    singlestep("clipped", {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1}, 17),
    singlestep("timesteps", LDM, None, lists={"timesteps": [999, 800, 500, 250, 100, 3]}),
    singlestep("bfloat16", {**LDM, **V}, 7, dtype="bfloat16"),
    singlestep("bfloat16-sde", {**LDM, **CLEAN_SDE}, 7, dtype="bfloat16"),
    singlestep("karras", {**LDM, "use_karras_sigmas": True}, 15, tolerance=LOG),
    singlestep("exponential", {**LDM, "use_exponential_sigmas": True}, 15, tolerance=LOG),
    singlestep("beta", {**LDM, "use_beta_sigmas": True}, 15, tolerance=LOG),
    sde("defaults", {}, 10),
    sde("one-step", LDM, 1),
    sde("two", LDM, 2),
    sde("hundred", LDM, 100),
    sde("velocity", {**LDM, **V}, 13),
    sde("louder", {**LDM, **V}, 13, step={"s_noise": 1.2}),
    sde("leading", {**LDM, "timestep_spacing": "leading", "steps_offset": 1}, 20),
    sde("trailing", {**LDM, "timestep_spacing": "trailing"}, 61),
    sde("bfloat16", {**LDM, **V}, 7, dtype="bfloat16"),
    sde("karras", {**LDM, "use_karras_sigmas": True}, 15, tolerance=LOG),
    sde("exponential", {**LDM, "use_exponential_sigmas": True}, 15, tolerance=LOG),
    sde("beta", {**LDM, "use_beta_sigmas": True}, 15, tolerance=LOG),
    kdpm2("defaults", {}, 10),
    kdpm2("one-step", LDM, 1),
    kdpm2("hundred", LDM, 100),
    kdpm2("velocity", {**LDM, **V}, 13),
    kdpm2("leading", {**LDM, "timestep_spacing": "leading", "steps_offset": 1}, 20),
    kdpm2("trailing", {**LDM, "timestep_spacing": "trailing"}, 20),
    kdpm2("trailing-more", {**LDM, "timestep_spacing": "trailing"}, 61),
    kdpm2("two", {**LDM, **V}, 2),
    kdpm2("bfloat16", {**LDM, **V}, 7, dtype="bfloat16"),
    kdpm2("karras", {**LDM, "use_karras_sigmas": True}, 15, tolerance=LOG),
    kdpm2("exponential", {**LDM, "use_exponential_sigmas": True}, 15, tolerance=LOG),
    kdpm2("beta", {**LDM, "use_beta_sigmas": True}, 15, tolerance=LOG),
    kdpm2("cosine", {"beta_schedule": "squaredcos_cap_v2"}, 17),
    kdpm2_ancestral("defaults", {}, 10),
    kdpm2_ancestral("one-step", LDM, 1),
    kdpm2_ancestral("hundred", LDM, 100),
    kdpm2_ancestral("velocity", {**LDM, **V}, 13),
    kdpm2_ancestral("leading", {**LDM, "timestep_spacing": "leading", "steps_offset": 1}, 20),
    kdpm2_ancestral("trailing", {**LDM, "timestep_spacing": "trailing"}, 20),
    kdpm2_ancestral("trailing-more", {**LDM, "timestep_spacing": "trailing"}, 61),
    kdpm2_ancestral("two", {**LDM, **V}, 2),
    kdpm2_ancestral("bfloat16", {**LDM, **V}, 7, dtype="bfloat16"),
    kdpm2_ancestral("karras", {**LDM, "use_karras_sigmas": True}, 15, tolerance=LOG),
    kdpm2_ancestral("exponential", {**LDM, "use_exponential_sigmas": True}, 15, tolerance=LOG),
    kdpm2_ancestral("beta", {**LDM, "use_beta_sigmas": True}, 15, tolerance=LOG),
    euler("karras-trailing", {**LDM, "use_karras_sigmas": True, "timestep_spacing": "trailing"}, 61, tolerance=LOG),
    inverse("defaults", {}, 10),
    inverse("one-step", LDM, 1),
    inverse("hundred", {**LDM, "clip_sample": False}, 100),
    inverse("velocity", {**LDM, **V}, 13),
    inverse("sample", {**LDM, **SAMPLE, "set_alpha_to_one": False}, 13),
    inverse("offset", {**LDM, "steps_offset": 1, "clip_sample_range": 0.7}, 20),
    inverse("trailing", {**LDM, "timestep_spacing": "trailing"}, 9),
    inverse("zero-snr", {**LDM, **V, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}, 10),
    inverse("bfloat16", {**LDM, **V}, 7, dtype="bfloat16"),
    ddpm("generators", {**LDM}, 6, generators=True),
    ancestral("generators", {**LDM}, 6, generators=True),
    kdpm2_ancestral("generators", {**LDM}, 6, generators=True),
    sa("generators", {**LDM}, 6, generators=True),
    tcd("generators", {**LDM}, 6, generators=True),
    lcm("generators", {**LDM}, 6, generators=True),
    dpm("generators", {**LDM, **CLEAN_SDE}, 6, generators=True),
    euler("generators", LDM, 6, generators=True, step={"s_churn": 3.0}),
    euler("continuous", {**LDM, **V, "timestep_type": "continuous"}, 9, tolerance=LOG),
]

# The few that are committed in test/fixtures/schedulers.
GOLDEN = [
    euler("golden", {**LDM, **V, "timestep_spacing": "leading"}, 4, step={"s_churn": 1.0}),
    ancestral("golden", {**LDM, "timestep_spacing": "trailing"}, 4),
    heun("golden", {**LDM, **V}, 4),
    lms("golden", {**LDM, **SAMPLE}, 5),
    singlestep("golden", {**LDM, **V, **THIRD, **HEUN}, 5),
    sde("golden", LDM, 3),
    kdpm2("golden", {**LDM, **V}, 4),
    kdpm2_ancestral("golden", LDM, 4),
    pndm("golden", {**LDM, **V}, 4),
    ddpm("golden", {**LDM, "variance_type": "fixed_large"}, 4),
    dpm("golden", {**LDM, **V, **CLEAN_SDE, **THIRD, "lower_order_final": False}, 5),
    unipc("golden", {**LDM, **V, **THIRD}, 5),
    deis("golden", {**LDM, **V, **THIRD}, 5),
    tcd("golden", {**LDM, **V}, 4, step={"eta": 0.4}),
    lcm("golden", {**LDM, **V}, 4),
    inverse("golden", {**LDM, "timestep_spacing": "trailing"}, 4),
    sa("golden", {**LDM, **V, "predictor_order": 3, "corrector_order": 4}, 5),
]


def write_cases(out, cases=CASES):
    for case in cases:
        write_case(case_folder(out, f"run-{case['name']}"), *run(case))


def run(case):
    """Step through a whole run; the network's outputs are noise, so that every step meets values of all sizes."""
    import diffusers

    scheduler = getattr(diffusers, case["class"])(**case["config"])
    scheduler.set_timesteps(case["steps"], **case.get("lists", {}))
    dtype = getattr(torch, case.get("dtype", "float32"))
    shape = case.get("shape", [2, 3, 4, 4])
    sample = seeded(shape, 1000, dtype) * torch.as_tensor(scheduler.init_noise_sigma, dtype=dtype)
    generator = torch.Generator().manual_seed(10)
    if case.get("generators"):
        generator = [torch.Generator().manual_seed(10 + i) for i in range(shape[0])]
    accepted = {"generator": generator} if takes_generator(scheduler) else {}
    tensors = {"sample": sample, "alphas_cumprod": scheduler.alphas_cumprod}
    if hasattr(scheduler, "noise_sampler"):
        scheduler.noise_sampler = BrownianNoise(scheduler, sample, generator)
    if hasattr(scheduler, "sigmas"):
        tensors["sigmas"] = torch.as_tensor(scheduler.sigmas, dtype=torch.float32)
    outputs, scaled, previous, originals, more = [], [], [], [], {}
    for i, t in enumerate(scheduler.timesteps):
        outputs.append(seeded(shape, 2000 + i, dtype))
        scaled.append(scheduler.scale_model_input(sample, t))
        result = scheduler.step(outputs[-1], t, sample, **accepted, **case.get("step", {}))
        sample = result.prev_sample
        previous.append(sample)
        for name in ("denoised", "pred_noised_sample"):
            if name in result:
                more.setdefault(name, []).append(result[name])
        original = result.get("pred_original_sample")
        if original is not None:
            originals.append(original)
    assert torch.stack(previous).isfinite().all(), case["name"]
    tensors |= {"model_outputs": torch.stack(outputs), "scaled": torch.stack(scaled), "prev_samples": torch.stack(previous)}
    tensors |= {name: torch.stack(values) for name, values in more.items()}
    if originals:
        tensors["pred_original_samples"] = torch.stack(originals)
    timesteps = [float(t) for t in scheduler.timesteps]
    return {"shape": shape, "why": why(case), **case, "timesteps": timesteps, "init_noise_sigma": float(scheduler.init_noise_sigma)}, tensors


def why(case):
    """Why a case is not bit for bit; empty where it is."""
    if case["class"] == "DEISMultistepScheduler" and case.get("tolerance"):
        return "coefficients by numpy's float32 log, which depends on the CPU"
    if case.get("tolerance"):
        return "noise levels or timesteps by numpy's float32 log, which depends on the CPU"
    return "the timesteps only, all else is bit for bit: by numpy's float32 log, which depends on the CPU" if case.get("log_timesteps") else ""


class BrownianNoise:
    """What DPMSolverSDE's steps draw, from a generator: diffusers' own tree needs torchsde, and no generator reaches it. The noise of a
    whole step holds that of its first half, as one Brownian motion has it."""

    def __init__(self, scheduler, like, generator):
        self.scheduler, self.like, self.generator = scheduler, like, generator
        self.first = None

    def __call__(self, sigma, sigma_next):
        fresh = torch.randn(self.like.shape, generator=self.generator, dtype=self.like.dtype)
        if self.first is None:
            self.first = fresh
            return fresh
        index = self.scheduler.step_index
        start, end = float(self.scheduler.sigmas[index - 1]), float(self.scheduler.sigmas[index])
        share = (start - math.sqrt(start * end)) / (start - end)
        both = self.first * math.sqrt(share) + fresh * math.sqrt(1 - share)
        self.first = None
        return both


def takes_generator(scheduler):
    import inspect

    return "generator" in inspect.signature(scheduler.step).parameters
