// A network as TypeScript writes it: `ModuleSpec` of lib/native.ts.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace latent_diffusion {

struct ModuleSpec {
  std::string name;
  std::string source;
  std::vector<std::pair<std::string, std::vector<int64_t>>> parameters;
  std::vector<std::pair<std::string, ModuleSpec>> children;
};

}  // namespace latent_diffusion
