"""The peer: Python diffusers, eager. As it comes in float32, or as a run of its own loop in other dtypes and memory formats."""

from peer import Peer, seconds_of


class Diffusers(Peer):
    def imports(self):
        import diffusers
        import torch

        diffusers.utils.logging.disable_progress_bar()
        torch.set_num_threads(self.threads)
        torch.set_grad_enabled(False)
        self.torch = torch
        return {"torch": torch.__version__, "diffusers": diffusers.__version__}

    def load(self, channels_last=False):
        from diffusers import LDMPipeline

        torch = self.torch
        self.pipe = LDMPipeline.from_pretrained(self.model, torch_dtype=getattr(torch, self.dtype))
        self.pipe.set_progress_bar_config(disable=True)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        if channels_last:
            self.pipe.unet.to(memory_format=torch.channels_last)
            self.pipe.vqvae.to(memory_format=torch.channels_last)

    def noise(self, seed, batch=1, halves=2):
        config = self.pipe.unet.config
        generator = self.torch.Generator().manual_seed(seed)
        side = config.sample_size * halves // 2
        size = (batch, config.in_channels, side, side)
        return self.cast(self.torch.randn(size, generator=generator))

    def cast(self, tensor):
        return tensor.to(self.pipe.unet.dtype).contiguous(memory_format=self.memory_format)

    def from_numpy(self, array):
        tensor = self.torch.from_numpy(array)
        return self.cast(tensor) if tensor.is_floating_point() else tensor

    def to_numpy(self, tensor):
        return tensor.float().numpy()

    def set_timesteps(self, steps):
        self.pipe.scheduler.set_timesteps(steps)
        return self.pipe.scheduler.timesteps

    def unet(self, latents, timestep):
        return self.pipe.unet(latents, timestep, return_dict=False)[0]

    def next_latents(self, sample, timestep, latents):
        return self.pipe.scheduler.step(sample, timestep, latents).prev_sample

    def decode_latents(self, latents):
        return self.pipe.vqvae.decode(latents / self.pipe.vqvae.config.scaling_factor, return_dict=False)[0]

    def generate(self, steps, seed):
        # diffusers' pipeline draws float32 latents whatever its dtype is, and then fails on them: a loop of our own there.
        if self.dtype != "float32":
            return super().generate(steps, seed)
        generator = self.torch.Generator().manual_seed(seed)
        return {"seconds": seconds_of(lambda: self.pipe(batch_size=1, num_inference_steps=steps, generator=generator))}


if __name__ == "__main__":
    Diffusers().serve()
