// A network as TypeScript writes it: `ModuleSpec` of lib/native/contract.ts.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace latent_diffusion {

struct ModuleChild;

struct ModuleSpec {
  std::string name;
  std::string source;
  std::vector<std::pair<std::string, std::vector<int64_t>>> parameters;
  // Not a vector of pairs: clang refuses a pair of an incomplete type.
  std::vector<ModuleChild> children;
};

struct ModuleChild {
  std::string name;
  ModuleSpec spec;
};

}  // namespace latent_diffusion
