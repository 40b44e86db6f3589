"""The peer: TorchScript with oneDNN Graph: traced, frozen, and run until it has settled."""

from diffusers_worker import Diffusers


class OneDnnGraph(Diffusers):
    def load(self, channels_last=True):
        import torch
        from networks import Decode, Step

        super().load(channels_last=channels_last)
        torch.jit.enable_onednn_fusion(True)
        torch._C._jit_set_autocast_mode(False)
        latents = self.noise(0)
        self.networks = [self.freeze(Step(self.pipe), (latents, torch.tensor([1]))), self.freeze(Decode(self.pipe), (latents,))]
        # The modules and the frozen graphs share the weights that oneDNN has not repacked.

    def freeze(self, module, example):
        module = self.torch.jit.freeze(self.torch.jit.trace(module.eval(), example, check_trace=False))
        for _ in range(2):
            module(*example)
        return module

    def unet(self, latents, timestep):
        return self.networks[0](latents, timestep.reshape(1))

    def decode_latents(self, latents):
        return self.networks[1](latents)

    def generate(self, steps, seed):
        return super(Diffusers, self).generate(steps, seed)


if __name__ == "__main__":
    OneDnnGraph().serve()
