// The search of a codebook on the CPU. Thread: any; uses LibTorch's intra-op threads.
#pragma once

#include <ATen/core/Tensor.h>

namespace latent_diffusion {

// at::argmin(at::cdist(z, codes), 1) without the matrix of distances: for each row of `z` [rows,
// size] the int64 index of the nearest row of `codes` [count, size], of equally near ones the
// first. Distances are sums of squared differences in float32 for every dtype of at most 32 bits.
// Other ranks and dtypes, and values that are not finite, take LibTorch's own operators.
at::Tensor NearestCodes(const at::Tensor& z, const at::Tensor& codes);

}  // namespace latent_diffusion
