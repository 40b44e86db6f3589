// A tensor's values as bytes in the host's memory. Thread: any.
#pragma once

#include <ATen/core/Tensor.h>

namespace latent_diffusion {

// On the CPU and contiguous, its memory being the values: not their negatives, which are turned
// round as they are read, and not zeros that are nowhere.
at::Tensor ToHost(const at::Tensor& tensor);

}  // namespace latent_diffusion
