#include "torchscript/module_source.h"

#include <c10/core/MemoryFormat.h>

namespace latent_diffusion {

at::Tensor Place(const at::Tensor& tensor, const Placement& placement) {
  const bool floating = tensor.is_floating_point();
  const c10::ScalarType dtype =
      floating ? placement.dtype.value_or(tensor.scalar_type()) : tensor.scalar_type();
  at::Tensor placed = tensor.to(placement.device, dtype);
  // A convolution whose weight is channels_last computes and returns channels_last, so the whole
  // network follows.
  if (placement.channels_last && floating && placed.dim() == 4) {
    placed = placed.contiguous(c10::MemoryFormat::ChannelsLast);
  }
  return placed;
}

}  // namespace latent_diffusion
