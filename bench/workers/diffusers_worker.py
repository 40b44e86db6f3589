"""The peer: Python diffusers behind the line protocol of bench/worker.mjs. One JSON request a line, one JSON reply a line."""

import json
import sys
import time

BEGUN = time.perf_counter()


def peak_memory():
    """The high-water mark of this process' resident memory, in MiB."""
    try:
        with open("/proc/self/status") as status:
            line = next(line for line in status if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    except FileNotFoundError:
        import resource

        scale = 1024**2 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


class Worker:
    def start(self, model, threads, optimize, dtype):
        import diffusers
        import torch
        from diffusers import LDMPipeline

        diffusers.utils.logging.disable_progress_bar()
        torch.set_num_threads(threads)
        imported = time.perf_counter() - BEGUN
        begun = time.perf_counter()
        self.torch = torch
        self.pipe = LDMPipeline.from_pretrained(model, torch_dtype=getattr(torch, dtype))
        self.pipe.set_progress_bar_config(disable=True)
        return {
            "import": imported,
            "load": time.perf_counter() - begun,
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
            "python": sys.version.split()[0],
        }

    def begin(self, steps, seed):
        unet = self.pipe.unet
        size = (1, unet.config.in_channels, unet.config.sample_size, unet.config.sample_size)
        generator = self.torch.Generator().manual_seed(seed)
        self.latents = self.torch.randn(size, generator=generator).to(unet.dtype)
        self.pipe.scheduler.set_timesteps(steps)
        self.remaining = iter(self.pipe.scheduler.timesteps)
        return {}

    def step(self):
        scheduler = self.pipe.scheduler
        begun = time.perf_counter()
        with self.torch.no_grad():
            timestep = next(self.remaining)
            sample = self.pipe.unet(scheduler.scale_model_input(self.latents, timestep), timestep).sample
            self.latents = scheduler.step(sample, timestep, self.latents).prev_sample
        return {"seconds": time.perf_counter() - begun}

    def decode(self):
        begun = time.perf_counter()
        with self.torch.no_grad():
            image = self.pipe.vqvae.decode(self.latents / self.pipe.vqvae.config.scaling_factor).sample
        image.float().mean().item()
        return {"seconds": time.perf_counter() - begun}

    def generate(self, steps, seed):
        begun = time.perf_counter()
        generator = self.torch.Generator().manual_seed(seed)
        self.pipe(batch_size=1, num_inference_steps=steps, generator=generator)
        return {"seconds": time.perf_counter() - begun}

    def memory(self):
        return {"peak": peak_memory()}


def main():
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        reply = getattr(worker, request.pop("do"))(**request)
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
