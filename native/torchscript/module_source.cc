#include "torchscript/module_source.h"

#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/MemoryFormat.h>

namespace latent_diffusion {

at::Tensor Place(const at::Tensor& tensor, const Placement& placement) {
  const bool floating = tensor.is_floating_point();
  const c10::ScalarType dtype =
      floating ? placement.dtype.value_or(tensor.scalar_type()) : tensor.scalar_type();
  at::Tensor placed = tensor.to(placement.device, dtype);
  // A convolution whose weight is channels_last computes and returns channels_last, so the whole
  // network follows.
  if (placement.optimize && floating && placed.dim() == 4) {
    placed = placed.contiguous(c10::MemoryFormat::ChannelsLast);
  }
  return placed;
}

at::Tensor PlaceParameter(const at::Tensor& tensor, const Placement& placement) {
  at::Tensor placed = Place(tensor, placement);
  if (placement.optimize || !placed.is_floating_point()) return placed;
  // Views of tensors that were made in inference mode never require gradients: another tensor of
  // the same memory.
  const c10::InferenceMode outside(false);
  at::Tensor parameter = at::empty({0}, placed.options());
  parameter.set_(placed.storage(), placed.storage_offset(), placed.sizes(), placed.strides());
  return parameter.set_requires_grad(true);
}

}  // namespace latent_diffusion
