#include "kernels/amx_kernels.h"

#include <ATen/Version.h>
#include <ATen/cpu/Utils.h>

#include <cstdlib>
#include <string>

namespace latent_diffusion {

const AmxKernels* FindAmxKernels() {
  static const AmxKernels* const found = []() -> const AmxKernels* {
#ifdef LATENT_DIFFUSION_AMX_KERNELS
    // For tests and measurements.
    if (std::getenv("LATENT_DIFFUSION_WITHOUT_AMX") != nullptr) return nullptr;
    const bool wide = at::get_cpu_capability().rfind("AVX512", 0) == 0;
    // Asks the system, which grants it to the whole process. Whatever has AMX has AVX-512's
    // conversions to bfloat16.
    if (wide && at::cpu::init_amx()) return CompiledAmxKernels();
#endif
    return nullptr;
  }();
  return found;
}

}  // namespace latent_diffusion
