// SiLU over vectors. Included by the files of instruction_sets/ only.
#pragma once

#include "kernels/exp.h"
#include "kernels/vector.h"

namespace latent_diffusion {
namespace {

inline Vector Silu(Vector x) { return x / (1.0F + Exp(-x)); }

}  // namespace
}  // namespace latent_diffusion
