"""Write what the benchmark needs beside a model: eager diffusers' own results, the networks as ONNX and as OpenVINO's IR.

    python bench/export_networks.py --model FOLDER --for expected|onnxruntime|openvino

Static shapes (batch 1, the model's own size), float32. ONNX by the TorchScript exporter, opset 17: the newer exporter's
graph runs slower.
"""

import argparse
import os
import shutil
import sys

import torch
from diffusers import LDMPipeline
from safetensors.torch import save_file

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "workers"))
from networks import Decode, Step  # noqa: E402


def write_expected(pipe, latents, timestep, out):
    # Latents that are codes: others may lie between two, and then rounding decides on the picture.
    codes = pipe.vqvae.quantize.embedding.weight
    chosen = torch.randint(len(codes), latents[:, 0].shape, generator=torch.Generator().manual_seed(0))
    codes = codes[chosen].permute(0, 3, 1, 2).contiguous()
    found = {"step": pipe.unet(latents, timestep).sample, "decode": pipe.vqvae.decode(codes).sample}
    save_file({"latents": latents, "timestep": timestep, "codes": codes, **found}, os.path.join(out, "expected.safetensors"))


def write_onnx(pipe, latents, timestep, out):
    for module, inputs, name in networks(pipe, latents, timestep):
        names = ["latents", "timestep"][: len(inputs)]
        file = os.path.join(out, f"{name}.onnx")
        torch.onnx.export(module, inputs, file, dynamo=False, opset_version=17, input_names=names, output_names=["out"])


def write_openvino(pipe, latents, timestep, out):
    import openvino

    for module, inputs, name in networks(pipe, latents, timestep):
        shapes = [tuple(tensor.shape) for tensor in inputs]
        converted = openvino.convert_model(module, example_input=inputs, input=shapes)
        openvino.save_model(converted, os.path.join(out, f"{name}.xml"), compress_to_fp16=False)


def networks(pipe, latents, timestep):
    return [(Step(pipe).eval(), (latents, timestep), "unet"), (Decode(pipe).eval(), (latents,), "decoder")]


WRITERS = {"expected": write_expected, "onnxruntime": write_onnx, "openvino": write_openvino}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--for", dest="kind", required=True, choices=WRITERS)
    options = parser.parse_args()
    pipe = LDMPipeline.from_pretrained(options.model)
    config = pipe.unet.config
    size = (1, config.in_channels, config.sample_size, config.sample_size)
    latents = torch.randn(size, generator=torch.Generator().manual_seed(0))
    out = os.path.join(options.model, "exports", options.kind)
    partial = f"{out}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    os.makedirs(partial)
    with torch.no_grad():
        WRITERS[options.kind](pipe, latents, torch.tensor([500]), partial)
    # What has its name is complete.
    os.replace(partial, out)


if __name__ == "__main__":
    main()
