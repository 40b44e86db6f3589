#define LATENT_DIFFUSION_VECTOR_BYTES 64
#define LATENT_DIFFUSION_VECTOR_REGISTERS 32
#include "kernels/simd/kernel_table.h"

const latent_diffusion::CpuKernels* latent_diffusion::Avx512Kernels() { return &kKernels; }
