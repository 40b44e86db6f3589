#include "checkpoint/host_tensor.h"

#include <ATen/ops/zeros.h>

namespace latent_diffusion {

at::Tensor ToHost(const at::Tensor& tensor) {
  if (tensor._is_zerotensor()) return at::zeros(tensor.sizes(), tensor.options().device(c10::kCPU));
  return tensor.to(c10::kCPU).resolve_conj().resolve_neg().contiguous();
}

}  // namespace latent_diffusion
