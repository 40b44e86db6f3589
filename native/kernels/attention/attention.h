// Scaled dot-product attention on the CPU. Thread: any; uses LibTorch's intra-op threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace latent_diffusion {

// at::scaled_dot_product_attention without mask, dropout or causality, of `q` [batch, heads,
// queries, size], `k` and `v` [batch, heads, keys, size], in float32 or bfloat16 and with any
// strides; others go to LibTorch. The result lies in memory as [batch, queries, heads, size], as
// networks want it next.
at::Tensor Attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     std::optional<double> scale);

}  // namespace latent_diffusion
