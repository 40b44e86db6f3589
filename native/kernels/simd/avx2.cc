#define LATENT_DIFFUSION_VECTOR_BYTES 32
#define LATENT_DIFFUSION_VECTOR_REGISTERS 16
#include "kernels/simd/kernel_table.h"

const latent_diffusion::CpuKernels* latent_diffusion::Avx2Kernels() { return &kKernels; }
