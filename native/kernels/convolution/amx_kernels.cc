#include "kernels/convolution/amx_kernels.h"

#include <ATen/Version.h>
#include <ATen/cpu/Utils.h>

#include <cstdlib>
#include <string>

namespace latent_diffusion {
namespace {

// For tests and measurements: as on a CPU without AMX.
bool IsDenied() { return std::getenv("LATENT_DIFFUSION_WITHOUT_AMX") != nullptr; }

}  // namespace

bool MultipliesMatrices() {
  // Asks the system, which grants it to the whole process.
  static const bool can = !IsDenied() && at::cpu::init_amx();
  return can;
}

const AmxKernels* FindAmxKernels() {
  static const AmxKernels* const found = []() -> const AmxKernels* {
#ifdef LATENT_DIFFUSION_AMX_KERNELS
    const bool wide = at::get_cpu_capability().rfind("AVX512", 0) == 0;
    // Whatever has AMX has AVX-512's conversions to bfloat16.
    if (wide && MultipliesMatrices()) return CompiledAmxKernels();
#endif
    return nullptr;
  }();
  return found;
}

}  // namespace latent_diffusion
