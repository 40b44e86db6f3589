// Devices and dtypes that a graph names as constants. A trace keeps those of its example input, and
// fails at run time with any other. A frozen module holds its weights there. Thread: any.
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
  // The number of floating values of each dtype in the code itself, and the device of the last one.
  std::map<c10::ScalarType, int64_t> values;
  std::optional<c10::Device> values_device;
};

BakedConstants FindBakedConstants(const torch::jit::Module& module);

}  // namespace latent_diffusion
