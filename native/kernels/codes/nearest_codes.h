// The search for the nearest code on the CPU. Thread: any; uses LibTorch's intra-op threads.
#pragma once

#include <ATen/core/Tensor.h>

namespace latent_diffusion {

// at::argmin(at::cdist(z, codes), 1) without the matrix of distances. For each row of `z` [rows,
// size] it returns the int64 index of the nearest row of `codes` [count, size]; of equally near
// ones the first wins. Distances are sums of squared differences, in float32 for every dtype of at
// most 32 bits. Other ranks and dtypes, and values that are not finite, use LibTorch's own
// operators.
at::Tensor NearestCodes(const at::Tensor& z, const at::Tensor& codes);

}  // namespace latent_diffusion
