// SiLU over vectors. Included by the files of simd/ only.
#pragma once

#include "kernels/simd/exp.h"
#include "kernels/simd/vector.h"

namespace latent_diffusion {
namespace {

inline Vector Silu(Vector x) { return x / (1.0F + Exp(-x)); }

}  // namespace
}  // namespace latent_diffusion
