// The end of every convolution: what is added to the sums, and where the results are stored.
// Thread: any.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/FunctionRef.h>

#include <cstdint>
#include <optional>

namespace latent_diffusion {

// What a kernel adds when it stores its sums, channels_last. It lives for one call.
struct Epilogue {
  // float32, `bias_stride` from one image to the next; null if there is none.
  const float* bias;
  int64_t bias_stride;
  // Has the output's shape, dtype and layout; null if there is none.
  const char* residual;
  char* output;

  const float* BiasAt(int64_t image, int64_t channel) const {
    return bias != nullptr ? bias + image * bias_stride + channel : nullptr;
  }
  // `offset` in bytes, the same as for the output.
  const char* ResidualAt(int64_t offset) const {
    return residual != nullptr ? residual + offset : nullptr;
  }
};

// Calls `compute` to fill `output`, [batch, out, height, width] channels_last or [rows, out], and
// returns its sum with the residual. `bias` is [out]; `residual` is anything that can be added to
// `output`. One of shape [batch or 1, out, 1, 1], such as a time embedding, is added to the bias.
// What no kernel can add is added afterwards, with LibTorch's rules for shapes and dtypes.
at::Tensor ComputeAndAdd(const at::Tensor& output, const std::optional<at::Tensor>& bias,
                         const std::optional<at::Tensor>& residual,
                         c10::function_ref<void(const Epilogue&)> compute);

// The same for a picture without a batch: `convolve` takes and returns a batch of one.
at::Tensor ConvolvePicture(const at::Tensor& picture, const std::optional<at::Tensor>& residual,
                           c10::function_ref<at::Tensor(const at::Tensor&)> convolve);

}  // namespace latent_diffusion
