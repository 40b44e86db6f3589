#define LATENT_DIFFUSION_VECTOR_BYTES 64
#define LATENT_DIFFUSION_VECTOR_REGISTERS 32
#include "kernels/amx_kernels.h"
#include "kernels/vector.h"

namespace latent_diffusion {
namespace {

constexpr AmxKernels kKernels = {};

}  // namespace
}  // namespace latent_diffusion

const latent_diffusion::AmxKernels* latent_diffusion::CompiledAmxKernels() { return &kKernels; }
