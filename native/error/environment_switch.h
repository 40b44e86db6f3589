// Switches that the environment sets, for tests and measurements. Thread: any.
#pragma once

#include <cstdlib>
#include <string_view>

namespace latent_diffusion {

// Whether the variable is set, to anything but "0" or nothing.
inline bool IsSwitchedOn(const char* variable) {
  const char* const value = std::getenv(variable);
  return value != nullptr && std::string_view(value) != "0" && !std::string_view(value).empty();
}

}  // namespace latent_diffusion
