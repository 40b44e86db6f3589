// Convolutions of 3 x 3 (padding 1, stride 1 or 2) and 1 x 1, and linear layers, by AMX.
// Thread: any; uses LibTorch's intra-op threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace latent_diffusion {

// Packs a weight, [out, in, 3, 3], [out, in, 1, 1] or [out, in], for AMX: bfloat16 [panels, blocks
// of channels, taps, parts, 32 in, 32 out]. float32 has two parts, first the low part, then the
// high one. Other dtypes have one.
at::Tensor PackAmx(const at::Tensor& weight);

// Packs [out, in, 3, 3] for pictures that are first enlarged, each pixel to 2 x 2. There are four
// times as many panels, one for each parity of a result's row and column. Each has 2 x 2 taps,
// which are sums of the 3 x 3.
at::Tensor PackAmxUpsampling(const at::Tensor& weight);

// `input` is float32 (two parts) or bfloat16 (one) [batch, in, height, width]; `bias` is [out].
// `residual` is added; it has the result's shape or broadcasts to it. With `groups` above 0, the
// input is first normalized as by aten::group_norm, then by aten::silu if `silu`. Returns the dtype
// of `input`, [batch, out, height / stride, width / stride], rounded up, channels_last. If the
// weights were packed for upsampling, height and width are doubled.
at::Tensor AmxConvolution(const at::Tensor& input, const at::Tensor& packed,
                          const std::optional<at::Tensor>& bias,
                          const std::optional<at::Tensor>& residual, int64_t in_channels,
                          int64_t out_channels, int64_t stride, int64_t groups,
                          const std::optional<at::Tensor>& norm_weight,
                          const std::optional<at::Tensor>& norm_bias, double eps, bool silu);

// `input` is [..., in]; returns [..., out].
at::Tensor AmxLinear(const at::Tensor& input, const at::Tensor& packed,
                     const std::optional<at::Tensor>& bias, int64_t in_channels,
                     int64_t out_channels);

}  // namespace latent_diffusion
