// The canonical form of a network: its code, and where its weights are. Executables are made from
// it. Thread: an executor, except the accessors, which any thread may call.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/weight.h"
#include "torchscript/module_spec.h"

namespace torch::jit {
struct Module;
}  // namespace torch::jit

namespace latent_diffusion {

struct ParameterInfo {
  std::string name;
  std::vector<int64_t> shape;
  c10::ScalarType dtype;
};

// The device, dtype and options that a network runs with.
struct Placement {
  c10::Device device;
  // None: each weight keeps its own dtype.
  std::optional<c10::ScalarType> dtype;
  // False: bit for bit what eager PyTorch computes, with parameters as an eager module has them.
  bool optimize;
};

class ModuleSource {
 public:
  virtual ~ModuleSource() = default;

  // Compiles the specification; throws ERR_TORCHSCRIPT_INVALID.
  static std::shared_ptr<ModuleSource> Define(const ModuleSpec& spec);
  // Runs code of the file; throws ERR_CHECKPOINT_NOT_FOUND or ERR_TORCHSCRIPT_INVALID.
  static std::shared_ptr<ModuleSource> Load(const std::string& path);

  const std::vector<std::string>& methods() const { return methods_; }
  // Parameters, then buffers, in registration order, with their full names.
  const std::vector<ParameterInfo>& parameters() const { return parameters_; }
  // What the code names as a constant, as traces do.
  const std::optional<c10::Device>& baked_device() const { return baked_device_; }
  const std::optional<c10::ScalarType>& baked_dtype() const { return baked_dtype_; }

  // Makes a separate module with its own code and with its weights in place. `weights` are those of
  // parameters(), in order; empty for a file.
  virtual torch::jit::Module Instantiate(const std::vector<Weight>& weights,
                                         const Placement& placement) = 0;

 protected:
  std::vector<std::string> methods_;
  std::vector<ParameterInfo> parameters_;
  std::optional<c10::Device> baked_device_;
  std::optional<c10::ScalarType> baked_dtype_;
};

// Moves and casts one weight. Returns it unchanged if there is nothing to do.
at::Tensor Place(const at::Tensor& tensor, const Placement& placement);

// Places a parameter that requires gradients, as in an eager module. No gradient is computed, but
// PyTorch's choices depend on it: a linear layer then folds a strided batch into one matrix product
// instead of one per item. With few rows (pictures of 2 x 2 in attention) the two round
// differently.
at::Tensor PlaceParameter(const at::Tensor& tensor, const Placement& placement);

}  // namespace latent_diffusion
