"""What the peers that run exported networks share: numpy, and diffusers' DDIM steps in it, so that they need not hold torch."""

import json
import os

import numpy
from peer import Peer


class ExportedPeer(Peer):
    def imports(self):
        with open(os.path.join(self.model, "scheduler/scheduler_config.json")) as file:
            config = json.load(file)
        if config["beta_schedule"] != "scaled_linear" or config["clip_sample"] or not config["set_alpha_to_one"]:
            raise RuntimeError("Expected the scheduler that bench/make_full_size.py writes")
        betas = numpy.linspace(config["beta_start"] ** 0.5, config["beta_end"] ** 0.5, config["num_train_timesteps"]) ** 2
        self.alphas = numpy.cumprod(1 - betas)
        return self.import_runtime()

    def noise(self, seed):
        with open(os.path.join(self.model, "unet/config.json")) as file:
            config = json.load(file)
        shape = (1, config["in_channels"], config["sample_size"], config["sample_size"])
        return numpy.random.default_rng(seed).standard_normal(shape, numpy.float32)

    def set_timesteps(self, steps):
        self.stride = len(self.alphas) // steps
        return [numpy.array([t], numpy.int64) for t in reversed(range(0, steps * self.stride, self.stride))]

    def next_latents(self, sample, timestep, latents):
        before = int(timestep[0]) - self.stride
        alpha, next_alpha = self.alphas[int(timestep[0])], self.alphas[before] if before >= 0 else 1.0
        clean = (latents - (1 - alpha) ** 0.5 * sample) / alpha**0.5
        return (next_alpha**0.5 * clean + (1 - next_alpha) ** 0.5 * sample).astype(numpy.float32)

    def from_numpy(self, array):
        return array

    def to_numpy(self, array):
        return array
