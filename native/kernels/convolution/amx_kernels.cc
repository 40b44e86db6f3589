#include "kernels/convolution/amx_kernels.h"

#include <ATen/Version.h>
#include <ATen/cpu/Utils.h>

#include <string>

#include "error/environment_switch.h"

namespace latent_diffusion {
bool HasAmx() {
  // The variable makes this CPU count as one without AMX. init_amx asks the system to allow AMX for
  // the whole process.
  static const bool can = !IsSwitchedOn("LATENT_DIFFUSION_WITHOUT_AMX") && at::cpu::init_amx();
  return can;
}

const AmxKernels* FindAmxKernels() {
  static const AmxKernels* const found = []() -> const AmxKernels* {
#ifdef LATENT_DIFFUSION_AMX_KERNELS
    const bool wide = at::get_cpu_capability().rfind("AVX512", 0) == 0;
    // Every CPU with AMX also has AVX-512's conversions to bfloat16.
    if (wide && HasAmx()) return CompiledAmxKernels();
#endif
    return nullptr;
  }();
  return found;
}

}  // namespace latent_diffusion
