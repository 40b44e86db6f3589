// Direct convolution on the CPU, for pictures of few pixels. Each weight is read from memory once,
// in the order of use. Thread: any; uses LibTorch's intra-op threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace latent_diffusion {

// Packs a weight, float32 or bfloat16 [out, in, side, side], for this process's kernels: [panels,
// blocks of in, taps, in, panel], the same dtype and size.
at::Tensor PackDirect(const at::Tensor& weight);

// `input` is float32 or bfloat16 [batch, in, height, width], the dtype of `packed`; `bias` is
// [out]. `residual` is added; it has the result's shape or broadcasts to it. `side`, `stride` and
// `padding` hold for both dimensions. Returns the dtype of `input`, [batch, out, ...],
// channels_last.
at::Tensor DirectConvolution(const at::Tensor& input, const at::Tensor& packed,
                             const std::optional<at::Tensor>& bias,
                             const std::optional<at::Tensor>& residual, int64_t in_channels,
                             int64_t out_channels, int64_t side, int64_t stride, int64_t padding);

}  // namespace latent_diffusion
