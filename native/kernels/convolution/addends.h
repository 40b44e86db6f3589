// What a convolution adds to its sums. Thread: any.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace latent_diffusion {

struct Addends {
  // float32 [out] or [batch, out]; undefined: nothing.
  at::Tensor bias;
  // Of the output's shape, dtype and layout; undefined: nothing.
  at::Tensor residual;
  // What no kernel adds, to be added afterwards with LibTorch's rules for shapes and dtypes.
  at::Tensor rest;
};

// `bias` [out]; `residual` whatever can be added to `output`, float32 or bfloat16 [batch, out,
// height, width]. One of shape [batch or 1, out, 1, 1], such as a time embedding, joins the bias.
Addends PrepareAddends(const std::optional<at::Tensor>& bias,
                       const std::optional<at::Tensor>& residual, const at::Tensor& output);

}  // namespace latent_diffusion
