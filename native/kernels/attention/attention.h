// Scaled dot-product attention on the CPU. Thread: any; uses LibTorch's intra-op threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace latent_diffusion {

// at::scaled_dot_product_attention without mask, dropout or causality, for `q` [batch, heads,
// queries, size], `k` and `v` [batch, heads, keys, size], float32 or bfloat16, any strides. Other
// input goes to LibTorch. The result's memory is [batch, queries, heads, size], the layout that
// networks use next.
at::Tensor Attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     std::optional<double> scale);

}  // namespace latent_diffusion
