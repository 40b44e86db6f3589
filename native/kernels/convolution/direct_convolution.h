// Convolution as it is defined, for pictures of so few pixels that weights must be met once and in
// the order in which they lie, on the CPU. Thread: any; uses LibTorch's intra-op threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace latent_diffusion {

// Packs a weight, float32 or bfloat16 [out, in, side, side], for this process's kernels: of the
// same dtype [panels, (some of in, taps, panel) for all of in]. As large as it was.
at::Tensor PackDirect(const at::Tensor& weight);

// `input` float32 or bfloat16 [batch, in, height, width], as `packed`; `bias` [out]; `residual`, of
// the result's shape or one that can be added to it, is added. `side`, `stride` and `padding` hold
// for both dimensions. Returns `input`'s dtype [batch, out, ...], channels_last.
at::Tensor DirectConvolution(const at::Tensor& input, const at::Tensor& packed,
                             const std::optional<at::Tensor>& bias,
                             const std::optional<at::Tensor>& residual, int64_t in_channels,
                             int64_t out_channels, int64_t side, int64_t stride, int64_t padding);

}  // namespace latent_diffusion
