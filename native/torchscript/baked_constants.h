// Devices and dtypes that a graph names as constants: a trace keeps those that it was made with,
// and fails at run time anywhere else. Thread: any.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

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
};

BakedConstants FindBakedConstants(const torch::jit::Module& module);

}  // namespace latent_diffusion
