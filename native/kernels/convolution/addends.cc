#include "kernels/convolution/addends.h"

#include <ATen/ops/add.h>

namespace latent_diffusion {
namespace {

// [batch or 1, out, 1, 1] beside [batch, out, height, width].
bool IsForWholeImages(const at::Tensor& residual, const at::Tensor& output) {
  return residual.dim() == 4 && output.dim() == 4 && residual.size(2) == 1 &&
         residual.size(3) == 1 && residual.size(1) == output.size(1) &&
         (residual.size(0) == 1 || residual.size(0) == output.size(0));
}

}  // namespace

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

}  // namespace latent_diffusion
