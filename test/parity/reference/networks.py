"""Run diffusers' UNet2DModel and VQModel, and write what they make for test/parity/networks.test.ts and the goldens.

    python networks.py --out DIR [--golden]
    python networks.py --torchscript JOBS.json     run modules that Node saved, print what differs
"""

import json
import random
import sys
import warnings
from pathlib import Path

import diffusers
import torch
from safetensors.torch import load_file

import network_cases
from common import Recorder, align, case_folder, parse_arguments, randomize, seeded, set_threads, write_case

diffusers.utils.logging.set_verbosity_error()


def class_labels(model, batch, seed):
    """Labels as the config wants them; None without class embedding."""
    config = model.config
    if config.class_embed_type == "timestep":
        return 1 + torch.arange(batch) * 3
    if config.class_embed_type == "identity":
        return seeded((batch, model.time_embedding.linear_2.out_features), seed)
    if config.num_class_embeds is not None:
        return torch.arange(batch) * 2 % config.num_class_embeds
    return None


def unet_runs(model, recorder, dtype, timesteps):
    """One forward for each timestep: a number, or a tensor."""
    runs = []
    for index, (batch, height, width, timestep) in enumerate(timesteps):
        sample = seeded((batch, model.config.in_channels, height, width), 100 + index, dtype)
        labels = class_labels(model, batch, 200 + index)
        if model.config.class_embed_type == "identity":
            labels = labels.to(dtype)
        output = model(sample, timestep, class_labels=labels).sample
        runs.append({
            "method": "forward",
            "dtype": str(dtype).removeprefix("torch."),
            "sample": recorder.add("x", sample),
            "timestep": recorder.add("t", timestep) if torch.is_tensor(timestep) else timestep,
            "classLabels": None if labels is None else recorder.add("c", labels),
            "expected": recorder.add("y", output),
        })
    return runs


def unet_timesteps(config, golden):
    """Numbers, 0-dim and batch tensors, integer and not; batch 1 and 3; not square."""
    learned = config.time_embedding_type == "learned"
    runs = [(1, 8, 8, 7), (3, 8, 16, torch.tensor([3, 11, 19]))]
    if not golden:
        runs.append((3, 16, 8, 19))
        runs.append((1, 16, 16, torch.tensor(5)))
        if not learned:
            runs.append((1, 16, 8, torch.tensor(7.5)))
            runs.append((3, 8, 8, torch.tensor([0.5, 981.0, 7.25], dtype=torch.float64)))
            runs.append((2, 16, 16, torch.tensor([999], dtype=torch.int32)))
    return runs


def vq_runs(model, recorder, dtype, golden):
    """Encode, decode, both, and the two ways around the quantiser."""
    runs = []

    def run(method, value, expected, **options):
        runs.append({
            "method": method, "dtype": str(dtype).removeprefix("torch."), "input": recorder.add("x", value),
            "options": options, "expected": recorder.add("y", expected),
        })

    config = model.config
    codes = config.vq_embed_dim if config.vq_embed_dim is not None else config.latent_channels
    for index, (batch, height, width) in enumerate([(1, 8, 8)] if golden else [(1, 16, 16), (3, 16, 8), (2, 9, 22)]):
        picture = seeded((batch, config.in_channels, height, width), 300 + index, dtype)
        latents = seeded((batch, codes, height // 2 + 2, width // 2), 400 + index, dtype)
        run("encode", picture, model.encode(picture).latents)
        run("decode", latents, model.decode(latents).sample)
        run("forward", picture, model(picture).sample)
        if config.lookup_from_codebook:
            indices = torch.arange(batch * 20).reshape(batch, 4, 5) * 7 % config.num_vq_embeddings
            run("decode", indices, model.decode(indices, force_not_quantize=True, shape=(batch, 4, 5, codes)).sample, forceNotQuantize=True)
        else:
            run("decode", latents, model.decode(latents, force_not_quantize=True).sample, forceNotQuantize=True)
    return runs


def write_network(out, name, model, runs_of, golden):
    """Save one network, run it in every dtype of the case."""
    folder = case_folder(out, name)
    randomize(model, seed=len(name)).save_pretrained(folder / "model")
    recorder = Recorder()
    case = {"class": type(model).__name__, "runs": []}
    dtypes = ["float32"] + ([] if golden else network_cases.OTHER_DTYPES.get(name, []))
    for dtype in dtypes:
        typed = type(model).from_pretrained(folder / "model", torch_dtype=getattr(torch, dtype)).eval()
        case["runs"] += runs_of(typed, recorder, getattr(torch, dtype))
    if not golden:
        # What `torch.jit.load` has to give: it reads weights to where allocations begin.
        case["aligned"] = runs_of(align(type(model).from_pretrained(folder / "model").eval()), recorder, torch.float32)
    write_case(folder, case, recorder.tensors)


def write_networks(out, golden):
    for name, config in (network_cases.GOLDEN_UNETS if golden else network_cases.UNETS).items():
        torch.manual_seed(0)
        model = diffusers.UNet2DModel(**config)
        write_network(out, name, model, lambda model, recorder, dtype: unet_runs(model, recorder, dtype, unet_timesteps(model.config, golden)), golden)
    for name, config in (network_cases.GOLDEN_VQS if golden else network_cases.VQS).items():
        torch.manual_seed(0)
        model = diffusers.VQModel(**config)
        write_network(out, name, model, lambda model, recorder, dtype: vq_runs(model, recorder, dtype, golden), golden)


DOWN = ["DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D", "SkipDownBlock2D", "AttnSkipDownBlock2D", "KDownBlock2D"]
UP = ["UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D", "SkipUpBlock2D", "AttnSkipUpBlock2D", "KUpBlock2D"]


def random_mixture(source):
    """A UNet of blocks that may or may not fit together."""
    levels = source.choice([1, 2, 2, 3, 3])
    equal = source.random() < 0.5
    down, up = source.choice([(DOWN, UP), (DOWN[:5], UP[:5]), (DOWN[:4], UP[:4]), (DOWN[3:5], UP), (DOWN[5:], UP[5:]), (DOWN[5:], UP)])
    channels = source.choice([3, 3, 3, 4])
    return {
        "sample_size": 16, "in_channels": channels, "out_channels": source.choice([channels, 3]),
        "block_out_channels": [32 if equal else source.choice([32, 64]) for _ in range(levels)],
        "down_block_types": [source.choice(down) for _ in range(levels)],
        "up_block_types": [source.choice(up) for _ in range(levels)],
        "layers_per_block": source.choice([1, 1, 2]), "norm_num_groups": source.choice([8, 8, 8, 12]),
        "attention_head_dim": source.choice([8, 8, 20, 48]), "norm_eps": 1e-5,
    }


def random_autoencoder(source):
    """A VQModel whose blocks, channels and codes may or may not fit together."""
    levels = source.choice([1, 2, 2, 3])
    equal = source.random() < 0.5
    latents = source.choice([3, 4])
    return {
        "block_out_channels": [32 if equal else source.choice([16, 32, 64]) for _ in range(levels)],
        "down_block_types": [source.choice(["DownEncoderBlock2D", "AttnDownEncoderBlock2D"]) for _ in range(source.choice([levels, levels, levels, 1, 2]))],
        "up_block_types": [source.choice(["UpDecoderBlock2D", "AttnUpDecoderBlock2D"]) for _ in range(source.choice([levels, levels, levels, 1, 2]))],
        "layers_per_block": source.choice([0, 1, 1, 2]), "norm_num_groups": source.choice([8, 8, 8, 12]), "num_vq_embeddings": 30,
        "latent_channels": latents, "vq_embed_dim": source.choice([None, None, 3, 4]), "norm_type": source.choice(["group", "group", "spatial"]),
        "mid_block_add_attention": source.choice([True, False]),
    }


def constructs_and_runs(make, run):
    """The model if it does both, else None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = make().eval()
            run(model)
    except Exception:  # whatever diffusers or torch throws, the configuration does not run
        return None
    return model


def write_mixtures(out, unets, autoencoders):
    """Which mixtures of blocks run in diffusers, and the parameters that those have."""
    source = random.Random(7)
    mixtures = []

    def add(make, config, run):
        model = constructs_and_runs(lambda: make(**config), run)
        shapes = None if model is None else {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
        mixtures.append({"class": make.__name__, "config": config, "parameters": shapes})

    for _ in range(unets):
        config = random_mixture(source)
        add(diffusers.UNet2DModel, config, lambda model: model(torch.zeros(2, model.config.in_channels, 16, 16), 3))
    for _ in range(autoencoders):
        config = random_autoencoder(source)
        add(diffusers.VQModel, config, lambda model: model(torch.zeros(2, 3, 16, 16)))
    write_case(case_folder(out, "mixtures"), {"mixtures": mixtures}, {})


def run_torchscript(path):
    """Run what Node saved in Python's own `torch.jit.load`, without diffusers; print the runs that differ."""
    set_threads()
    differing = []
    stuck = []
    compared = 0
    for job in json.loads(Path(path).read_text()):
        module = torch.jit.load(job["module"])
        # Tensors without memory refuse to meet tensors on the CPU: what runs there has no device of its own.
        elsewhere = torch.jit.load(job["module"], map_location="meta")
        tensors = load_file(job["tensors"])
        for run in job["runs"]:
            method = getattr(module, run["method"])
            arguments = [tensors[value] if isinstance(value, str) else torch.tensor([value]) for value in run["arguments"]]
            compared += 1
            if not torch.equal(method(*arguments), tensors[run["expected"]]):
                differing.append(f"{job['module']}: {run['method']} {run['arguments']}")
            # The timestep may stay behind: the module takes it along.
            moved = [argument if run["method"] == "forward" and index == 1 else argument.to("meta") for index, argument in enumerate(arguments)]
            if getattr(elsewhere, run["method"])(*moved).device.type != "meta":
                stuck.append(f"{job['module']}: {run['method']}")
    print(json.dumps({"compared": compared, "differing": differing, "stuck": stuck}))


def main():
    if sys.argv[1:2] == ["--torchscript"]:
        with torch.no_grad():
            run_torchscript(sys.argv[2])
        return
    arguments = parse_arguments(__doc__)
    with torch.inference_mode(False), torch.no_grad():
        write_networks(arguments.out, arguments.golden)
        if not arguments.golden:
            write_mixtures(arguments.out, unets=400, autoencoders=150)


if __name__ == "__main__":
    main()
