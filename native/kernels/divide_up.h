// The number of parts of size `b` that hold `a`. Thread: any.
#pragma once

#include <cstdint>

namespace latent_diffusion {

constexpr int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace latent_diffusion
