"""The configurations that the network tests compare, which between them reach every key and block."""

SMALL = {"sample_size": 16, "block_out_channels": [16, 32], "layers_per_block": 1, "norm_num_groups": 8}
PLAIN = {"down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}


def pair(down, up, **keys):
    """Two levels of one kind of block; 32 channels, since K and AttnSkip blocks have groups of 32."""
    return {**SMALL, "block_out_channels": [32, 64], "down_block_types": [down] * 2, "up_block_types": [up] * 2, **keys}


def plain(**keys):
    return {**SMALL, **PLAIN, **keys}


UNETS = {
    "unet-plain": plain(attention_head_dim=8),
    "unet-three-levels": plain(
        block_out_channels=[16, 32, 48], layers_per_block=2, sample_size=[16, 8],
        down_block_types=["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
        up_block_types=["AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    ),
    "unet-one-level": plain(block_out_channels=[16], down_block_types=["AttnDownBlock2D"], up_block_types=["AttnUpBlock2D"]),
    "unet-sin-first": plain(flip_sin_to_cos=False, freq_shift=1),
    "unet-odd-channels": plain(block_out_channels=[15, 30], norm_num_groups=5, attention_head_dim=3, freq_shift=0.5),
    "unet-fourier": plain(time_embedding_type="fourier", center_input_sample=True),
    "unet-learned": plain(time_embedding_type="learned", num_train_timesteps=20),
    "unet-time-dim": plain(time_embedding_dim=24),
    "unet-class-number": plain(num_class_embeds=7),
    "unet-class-timestep": plain(class_embed_type="timestep"),
    "unet-class-identity": plain(class_embed_type="identity"),
    "unet-class-fourier": plain(class_embed_type="timestep", time_embedding_type="fourier"),
    "unet-scale-shift": plain(resnet_time_scale_shift="scale_shift"),
    "unet-scale-shift-norm": plain(resnet_time_scale_shift="scale_shift", attn_norm_num_groups=4),
    "unet-attn-norm": plain(attn_norm_num_groups=16),
    "unet-resnet-sampling": pair("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D"),
    "unet-attn-resnet-sampling": plain(
        down_block_types=["AttnDownBlock2D"] * 2, up_block_types=["AttnUpBlock2D"] * 2, downsample_type="resnet", upsample_type="resnet",
    ),
    "unet-attn-conv-sampling": plain(
        down_block_types=["AttnDownBlock2D"] * 2, up_block_types=["AttnUpBlock2D"] * 2, downsample_type=None, upsample_type=None,
    ),
    "unet-skip": pair("SkipDownBlock2D", "SkipUpBlock2D", block_out_channels=[16, 32]),
    "unet-skip-own-groups": pair("SkipDownBlock2D", "SkipUpBlock2D", block_out_channels=[16, 32], norm_num_groups=None),
    "unet-no-layers": plain(block_out_channels=[16, 16], layers_per_block=0, norm_num_groups=8),
    "unet-attn-skip": pair("AttnSkipDownBlock2D", "AttnSkipUpBlock2D", layers_per_block=2),
    "unet-skip-three-levels": plain(
        block_out_channels=[16, 32, 32], down_block_types=["SkipDownBlock2D", "SkipDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "SkipUpBlock2D", "SkipUpBlock2D"],
    ),
    "unet-skip-last": plain(
        down_block_types=["DownBlock2D", "SkipDownBlock2D"], up_block_types=["UpBlock2D", "SkipUpBlock2D"], in_channels=4, out_channels=5,
    ),
    "unet-k": pair("KDownBlock2D", "KUpBlock2D", layers_per_block=2, act_fn="gelu"),
    "unet-k-three-levels": pair(
        "KDownBlock2D", "KUpBlock2D", block_out_channels=[32, 64, 128], down_block_types=["KDownBlock2D"] * 3, up_block_types=["KUpBlock2D"] * 3,
    ),
    "unet-prefix": plain(down_block_types=["UNetResDownBlock2D", "UNetResAttnDownBlock2D"], up_block_types=["UNetResAttnUpBlock2D", "UNetResUpBlock2D"]),
    "unet-no-middle": plain(mid_block_type=None),
    "unet-no-attention": plain(add_attention=False, down_block_types=["DownBlock2D"] * 2, up_block_types=["UpBlock2D"] * 2),
    "unet-middle-scale": plain(mid_block_scale_factor=1.7),
    "unet-one-head": plain(attention_head_dim=None),
    "unet-head-rest": plain(block_out_channels=[24, 40], attention_head_dim=24),
    "unet-padding-0": plain(downsample_padding=0),
    "unet-mish": plain(act_fn="mish"),
    "unet-gelu": plain(act_fn="GELU"),
    "unet-relu": plain(act_fn="relu", dropout=0.3),
    "unet-swish": plain(act_fn="swish", norm_eps=1e-3),
    "unet-channels": plain(in_channels=4, out_channels=6, layers_per_block=3),
}

ONE = {"block_out_channels": [16], "norm_num_groups": 8, "num_vq_embeddings": 40, "sample_size": 16}
TWO = {
    **ONE, "block_out_channels": [16, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2,
}
ATTENTION = {"down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"], "up_block_types": ["AttnUpDecoderBlock2D", "UpDecoderBlock2D"]}

VQS = {
    "vq-one-level": ONE,
    "vq-two-levels": {**TWO, "layers_per_block": 2, "scaling_factor": 0.7},
    "vq-attention": {**TWO, **ATTENTION},
    "vq-three-levels": {
        **TWO, "block_out_channels": [16, 32, 48], "num_vq_embeddings": 1000,
        "down_block_types": ["DownEncoderBlock2D"] * 3, "up_block_types": ["UpDecoderBlock2D"] * 3,
    },
    "vq-embed-dim": {**TWO, "vq_embed_dim": 5, "latent_channels": 4},
    "vq-spatial": {**TWO, "block_out_channels": [32, 64], "norm_type": "spatial"},
    "vq-spatial-attention": {**TWO, **ATTENTION, "block_out_channels": [32, 64], "norm_type": "spatial", "vq_embed_dim": 3, "act_fn": "gelu"},
    "vq-no-attention": {**TWO, "mid_block_add_attention": False, "act_fn": "mish"},
    "vq-lookup": {**TWO, "lookup_from_codebook": True, "force_upcast": True},
    "vq-no-layers": {**TWO, "block_out_channels": [16, 16], "layers_per_block": 0, "act_fn": "relu"},
    "vq-sample-size-null": {**TWO, "sample_size": None, "force_upcast": None},
    "vq-few-blocks": {**TWO, "block_out_channels": [16, 16], "down_block_types": ["DownEncoderBlock2D"], "up_block_types": ["UpDecoderBlock2D"] * 2},
    "vq-channels": {**TWO, "in_channels": 1, "out_channels": 2, "latent_channels": 6, "sample_size": [16, 24]},
    "vq-few-codes": {**TWO, "num_vq_embeddings": 9, "down_block_types": ["UNetResDownEncoderBlock2D"] * 2, "up_block_types": ["UNetResUpDecoderBlock2D"] * 2},
}

# Which cases run in other dtypes too. A 16-bit UNet with timestep classes, and a 16-bit codebook with at most 25 codes, fail there.
OTHER_DTYPES = {
    "unet-plain": ["bfloat16", "float16", "float64"],
    "unet-fourier": ["bfloat16", "float64"],
    "unet-learned": ["bfloat16"],
    "unet-class-number": ["bfloat16", "float16"],
    "unet-class-identity": ["bfloat16"],
    "unet-scale-shift": ["bfloat16"],
    "unet-attn-resnet-sampling": ["bfloat16"],
    "unet-attn-skip": ["bfloat16", "float64"],
    "unet-k": ["bfloat16", "float16", "float64"],
    "vq-attention": ["bfloat16", "float16", "float64"],
    "vq-spatial-attention": ["bfloat16"],
    "vq-three-levels": ["bfloat16", "float64"],
}

GOLDEN_SMALL = {"block_out_channels": [8, 16], "norm_num_groups": 4, "attention_head_dim": 4, "sample_size": 8}
GOLDEN_UNETS = {
    "unet-plain": plain(**GOLDEN_SMALL),
    "unet-classes": plain(**GOLDEN_SMALL, num_class_embeds=5, resnet_time_scale_shift="scale_shift", downsample_type="resnet", upsample_type="resnet", act_fn="gelu"),
    "unet-skip": pair("SkipDownBlock2D", "SkipUpBlock2D", **GOLDEN_SMALL, time_embedding_type="fourier"),
}
GOLDEN_VQS = {
    "vq-attention": {**TWO, **ATTENTION, "block_out_channels": [8, 16], "norm_num_groups": 4, "num_vq_embeddings": 30},
    "vq-lookup": {**ONE, "block_out_channels": [8], "norm_num_groups": 4, "lookup_from_codebook": True, "vq_embed_dim": 4},
}
