// The values of a tensor as bytes in the host's memory. Thread: any.
#pragma once

#include <ATen/core/Tensor.h>

namespace latent_diffusion {

// On the CPU, contiguous, and with its real values in memory: lazy negatives and lazy zeros are
// resolved.
at::Tensor ToHost(const at::Tensor& tensor);

}  // namespace latent_diffusion
