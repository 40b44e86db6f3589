#include "kernels/convolution/epilogue.h"

#include <ATen/ops/add.h>

namespace latent_diffusion {
namespace {

struct Addends {
  // float32 [out] or [batch, out]; undefined if there is none.
  at::Tensor bias;
  // Has the output's shape, dtype and layout; undefined if there is none.
  at::Tensor residual;
  // What no kernel can add.
  at::Tensor rest;
};

// [batch or 1, out, 1, 1] beside [batch, out, height, width].
bool IsForWholeImages(const at::Tensor& residual, const at::Tensor& output) {
  return residual.dim() == 4 && output.dim() == 4 && residual.size(2) == 1 &&
         residual.size(3) == 1 && residual.size(1) == output.size(1) &&
         (residual.size(0) == 1 || residual.size(0) == output.size(0));
}

Addends PrepareAddends(const std::optional<at::Tensor>& bias,
                       const std::optional<at::Tensor>& residual, const at::Tensor& output) {
  Addends addends;
  if (bias && bias->defined()) {
    TORCH_CHECK(bias->dim() == 1 && bias->size(0) == output.size(output.dim() == 4 ? 1 : -1),
                "Expected a bias for an output of shape ", output.sizes(),
                ", but received one of shape ", bias->sizes());
    addends.bias = bias->to(at::kFloat).contiguous();
  }
  if (!residual || !residual->defined()) return addends;
  const bool alike = residual->scalar_type() == output.scalar_type() && residual->device().is_cpu();
  if (alike && residual->sizes() == output.sizes()) {
    addends.residual = residual->contiguous(output.suggest_memory_format());
  } else if (alike && IsForWholeImages(*residual, output)) {
    const at::Tensor images = residual->flatten(1).to(at::kFloat);
    const at::Tensor sum = addends.bias.defined() ? at::add(images, addends.bias) : images;
    addends.bias = sum.expand({output.size(0), output.size(1)}).contiguous();
  } else {
    addends.rest = *residual;
  }
  return addends;
}

}  // namespace

at::Tensor ComputeAndAdd(const at::Tensor& output, const std::optional<at::Tensor>& bias,
                         const std::optional<at::Tensor>& residual,
                         c10::function_ref<void(const Epilogue&)> compute) {
  if (output.numel() == 0) return residual ? at::add(output, *residual) : output;
  const Addends addends = PrepareAddends(bias, residual, output);
  Epilogue epilogue{};
  if (addends.bias.defined()) {
    epilogue.bias = addends.bias.const_data_ptr<float>();
    epilogue.bias_stride = addends.bias.dim() == 2 ? addends.bias.size(1) : 0;
  }
  if (addends.residual.defined())
    epilogue.residual = static_cast<const char*>(addends.residual.const_data_ptr());
  epilogue.output = static_cast<char*>(output.mutable_data_ptr());
  compute(epilogue);
  return addends.rest.defined() ? at::add(output, addends.rest) : output;
}

at::Tensor ConvolvePicture(const at::Tensor& picture, const std::optional<at::Tensor>& residual,
                           c10::function_ref<at::Tensor(const at::Tensor&)> convolve) {
  const at::Tensor result = convolve(picture.unsqueeze(0)).squeeze(0);
  return residual ? at::add(result, *residual) : result;
}

}  // namespace latent_diffusion
