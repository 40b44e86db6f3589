// 3 x 3 convolution of stride 1 and padding 1 by Winograd's minimal filtering, on the CPU.
// Thread: any; uses LibTorch's intra-op threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "kernels/simd/cpu_kernels.h"

namespace latent_diffusion {

// Transforms a weight, [out, in, 3, 3] of any floating dtype, and packs it for this process's
// kernels: float32 [panels, points, in, panel]. It is 16 / 9 (kTile2) or 4 (kTile4) times as large
// as in float32.
at::Tensor PackWinograd(const at::Tensor& weight, WinogradTile tile);

// `input` is float32 or bfloat16 [batch, in, height, width]; `bias` is [out]. `residual` is added;
// it has the result's shape or broadcasts to it. Returns the dtype of `input`, [batch, out, height,
// width], channels_last.
at::Tensor WinogradConvolution(const at::Tensor& input, const at::Tensor& packed,
                               const std::optional<at::Tensor>& bias,
                               const std::optional<at::Tensor>& residual, int64_t out_channels);

}  // namespace latent_diffusion
