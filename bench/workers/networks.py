"""The two networks as modules of tensors to tensors, for those who trace, compile or export them."""

import torch


class Step(torch.nn.Module):
    def __init__(self, pipe):
        super().__init__()
        self.unet = pipe.unet

    def forward(self, latents, timestep):
        return self.unet(latents, timestep, return_dict=False)[0]


class Decode(torch.nn.Module):
    """VQModel.decode with the search for the nearest code as one product in float32: no exporter does torch.cdist well."""

    def __init__(self, pipe):
        super().__init__()
        self.vqvae = pipe.vqvae
        codes = pipe.vqvae.quantize.embedding.weight.detach().float()
        self.register_buffer("codes", codes)
        self.register_buffer("norms", (codes**2).sum(1))

    def forward(self, latents):
        batch, channels, height, width = latents.shape
        flat = latents.permute(0, 2, 3, 1).reshape(-1, channels)
        nearest = torch.argmin(self.norms - 2 * torch.matmul(flat.float(), self.codes.t()), dim=1)
        found = torch.nn.functional.embedding(nearest, self.codes).to(latents.dtype)
        found = found.reshape(batch, height, width, channels).permute(0, 3, 1, 2)
        return self.vqvae.decoder(self.vqvae.post_quant_conv(found))
