// Group norm, with or without SiLU after it, in one pass for the moments and one for the rest, on
// the CPU. Thread: any; uses LibTorch's intra-op threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace latent_diffusion {

// aten::group_norm, then aten::silu if `silu`, in the layout of `input`. LibTorch's own kernels are
// taken unless `input` is float32 or bfloat16 with its channels innermost: [batch, channels, ...]
// of three or four dimensions.
at::Tensor GroupNorm(const at::Tensor& input, int64_t groups,
                     const std::optional<at::Tensor>& weight, const std::optional<at::Tensor>& bias,
                     double eps, bool silu);

// What group norm multiplies and adds, float32 [2, batch, channels], for an `input` float32 or
// bfloat16 [batch, channels, height, width]: whoever reads the input next applies it.
at::Tensor GroupNormScales(const at::Tensor& input, int64_t groups,
                           const std::optional<at::Tensor>& weight,
                           const std::optional<at::Tensor>& bias, double eps);

}  // namespace latent_diffusion
