"""Every number of the recipe in one place."""

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Data:
    """How many faces are drawn, and how many of them are held out."""

    size: int = 64
    drawn: int = 42_000
    held_out: int = 2_000
    shard: int = 1_000


@dataclass(frozen=True)
class Autoencoder:
    """`VQModel` with two halvings (f4), sized for two CPU cores: the 64x64 level costs most of the time."""

    channels: tuple = (16, 32, 64)
    layers: int = 1
    latent_channels: int = 3
    codes: int = 1024
    groups: int = 8
    batch: int = 16
    steps: int = 2_000
    warm_up: int = 100
    learning_rate: float = 2e-3
    #: Share of the steps before quantisation starts: the codebook is then fitted to latents that mean something.
    continuous: float = 0.15
    #: Unused codes are placed anew every so many steps, until this share of the steps.
    revive_every: int = 250
    revive_until: float = 0.8


@dataclass(frozen=True)
class Decoder:
    """More training for the decoder alone: encoder and codebook stay, so the latents and the denoiser stay valid."""

    batch: int = 16
    steps: int = 1_500
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class Denoiser:
    """`UNet2DModel` over 16x16 latents, with attention at 8x8 and 4x4, trained to predict the velocity."""

    channels: tuple = (64, 96, 128)
    layers: int = 1
    head_dim: int = 32
    batch: int = 64
    steps: int = 1_650
    warm_up: int = 20
    #: Peak rates of Muon, for the matrices, and of AdamW, for all else.
    muon_rate: float = 0.01
    learning_rate: float = 1e-3
    #: Share of the steps, at the end, over which the learning rate falls to zero.
    decay: float = 0.6
    ema: float = 0.997
    #: Cap of the signal-to-noise ratio in the loss (min-SNR): nearly clean latents teach little.
    snr_cap: float = 5.0


@dataclass(frozen=True)
class Evaluation:
    """Sizes of the evaluation; the pictures are always the first ones of the seed."""

    generated: int = 400
    #: Training pictures that the Frechet distances are measured from.
    reference: int = 10_000
    batch: int = 50
    seed: int = 0
    steps: tuple = (50, 20, 10)
    grid: int = 64


@dataclass(frozen=True)
class Settings:
    """All of it; `seed` is the only source of chance in training."""

    seed: int = 0
    threads: int = 2
    #: Seconds between two checkpoints of a running stage.
    save_every: float = 60.0
    data: Data = field(default_factory=Data)
    autoencoder: Autoencoder = field(default_factory=Autoencoder)
    decoder: Decoder = field(default_factory=Decoder)
    denoiser: Denoiser = field(default_factory=Denoiser)
    evaluation: Evaluation = field(default_factory=Evaluation)

    #: `DDIMScheduler`: the noise schedule of the latent diffusion paper; trailing timesteps start from pure noise, as
    #: the pipeline does, which tells at 10 and 20 steps.
    SCHEDULER = {
        "num_train_timesteps": 1000,
        "beta_start": 0.0015,
        "beta_end": 0.0195,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "set_alpha_to_one": True,
        "steps_offset": 0,
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
    }


def smoke(settings: Settings) -> Settings:
    """Shrink a run to about two minutes: every stage runs, nothing is learned well."""
    return replace(
        settings,
        save_every=30.0,
        data=replace(settings.data, drawn=1_200, held_out=200, shard=400),
        autoencoder=replace(settings.autoencoder, steps=60, warm_up=5, revive_every=20),
        decoder=replace(settings.decoder, steps=10),
        denoiser=replace(settings.denoiser, steps=40, warm_up=5),
        evaluation=replace(settings.evaluation, generated=64, batch=32, steps=(10, 5), grid=16),
    )
