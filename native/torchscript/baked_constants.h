// Devices and dtypes that a graph names as constants: a trace keeps those that it was made with,
// and fails at run time anywhere else; a frozen module has its very weights there. Thread: any.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <map>
#include <optional>
#include <set>

namespace torch::jit {
struct Module;
}  // namespace torch::jit

namespace latent_diffusion {

struct BakedConstants {
  std::optional<c10::Device> device;
  // The floating dtypes that tensors are cast to.
  std::set<c10::ScalarType> casts;
  // How many floating values of each dtype stand in the code itself, and on which device the last.
  std::map<c10::ScalarType, int64_t> values;
  std::optional<c10::Device> values_device;
};

BakedConstants FindBakedConstants(const torch::jit::Module& module);

}  // namespace latent_diffusion
