"""The recipe of the demo checkpoint: data, autoencoder, latents, denoiser, export, evaluation."""
