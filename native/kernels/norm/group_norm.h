// Group norm, optionally followed by SiLU, on the CPU: one pass for the moments and one for the
// rest. Thread: any; uses LibTorch's intra-op threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace latent_diffusion {

// aten::group_norm, then aten::silu if `silu`, in the layout of `input`. `input` must be float32 or
// bfloat16, channels-last, [batch, channels, ...] with three or four dimensions; other input goes
// to LibTorch's own kernels.
at::Tensor GroupNorm(const at::Tensor& input, int64_t groups,
                     const std::optional<at::Tensor>& weight, const std::optional<at::Tensor>& bias,
                     double eps, bool silu);

// The factors and summands of group norm, float32 [2, batch, channels], for an `input` float32 or
// bfloat16 [batch, channels, height, width]. The operator that reads the input applies them.
at::Tensor GroupNormScales(const at::Tensor& input, int64_t groups,
                           const std::optional<at::Tensor>& weight,
                           const std::optional<at::Tensor>& bias, double eps);

}  // namespace latent_diffusion
