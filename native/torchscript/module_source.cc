#include "torchscript/module_source.h"

#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>

namespace latent_diffusion {

at::Tensor Place(const at::Tensor& tensor, const Placement& placement) {
  const c10::ScalarType own = tensor.scalar_type();
  return tensor.to(placement.device,
                   tensor.is_floating_point() ? placement.dtype.value_or(own) : own);
}

at::Tensor PlaceParameter(const at::Tensor& tensor, const Placement& placement) {
  at::Tensor placed = Place(tensor, placement);
  if (placement.optimize || !placed.is_floating_point()) return placed;
  // Views of tensors that were made in inference mode can never require gradients. So this makes
  // another tensor with the same memory.
  const c10::InferenceMode outside(false);
  at::Tensor parameter = at::empty({0}, placed.options());
  parameter.set_(placed.storage(), placed.storage_offset(), placed.sizes(), placed.strides());
  return parameter.set_requires_grad(true);
}

}  // namespace latent_diffusion
