#include "kernels/simd/cpu_kernels.h"

#include <ATen/Version.h>

#include <string>

namespace latent_diffusion {

const CpuKernels* FindCpuKernels() {
  static const CpuKernels* const found = []() -> const CpuKernels* {
#ifndef LATENT_DIFFUSION_KERNELS
    return nullptr;
#else
    // This follows ATEN_CPU_CAPABILITY.
    const std::string capability = at::get_cpu_capability();
#if defined(__x86_64__)
    if (capability.rfind("AVX512", 0) == 0 || capability.rfind("AVX10", 0) == 0)
      return Avx512Kernels();
    if (capability == "AVX2") return Avx2Kernels();
#endif
    return BaselineKernels();
#endif
  }();
  return found;
}

}  // namespace latent_diffusion
