"""The peer: torch.compile with freezing, channels innermost."""

from diffusers_worker import Diffusers


class Compiled(Diffusers):
    def load(self, mode="default"):
        import torch
        import torch._inductor.config as config
        from networks import Decode, Step

        super().load(channels_last=True)
        config.freezing = True
        self.networks = [torch.compile(make(self.pipe).eval(), mode=mode) for make in (Step, Decode)]

    def unet(self, latents, timestep):
        return self.networks[0](latents, timestep.reshape(1))

    def decode_latents(self, latents):
        return self.networks[1](latents)

    def generate(self, steps, seed):
        return super(Diffusers, self).generate(steps, seed)


if __name__ == "__main__":
    Compiled().serve()
