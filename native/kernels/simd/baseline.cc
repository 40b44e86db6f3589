// The baseline of the architecture: SSE2, or NEON.
#define LATENT_DIFFUSION_VECTOR_BYTES 16
#ifdef __aarch64__
#define LATENT_DIFFUSION_VECTOR_REGISTERS 32
#else
#define LATENT_DIFFUSION_VECTOR_REGISTERS 16
#endif
#include "kernels/simd/kernel_table.h"

const latent_diffusion::CpuKernels* latent_diffusion::BaselineKernels() { return &kKernels; }
