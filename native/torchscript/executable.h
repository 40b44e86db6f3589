// The executable form of a network: a module made from the canonical form for one device, dtype and
// set of options. Disposable. Thread: the executor of its device, except schema(), which only
// reads.
#pragma once

#include <ATen/core/function_schema.h>
#include <ATen/core/stack.h>
#include <c10/core/Device.h>

#include <memory>
#include <string>
#include <vector>

#include "torchscript/module_source.h"

namespace latent_diffusion {

class Executable {
 public:
  Executable(ModuleSource& source, const std::vector<Weight>& weights, const Placement& placement);
  Executable(const Executable&) = delete;
  Executable& operator=(const Executable&) = delete;
  ~Executable();

  const c10::Device& device() const { return device_; }
  int64_t bytes() const { return bytes_; }
  // Throws ERR_INVALID_ARGUMENT for an unknown method. The first argument is self.
  const c10::FunctionSchema& Schema(const std::string& method) const;
  // `arguments` does not include self.
  c10::IValue Run(const std::string& method, torch::jit::Stack arguments) const;

 private:
  const c10::Device device_;
  std::unique_ptr<torch::jit::Module> module_;
  int64_t bytes_ = 0;
};

// Writes a file for Python's torch.jit.load: on the CPU, with stock operators, and with floating
// weights in `dtype` if one is given.
void SaveModule(ModuleSource& source, const std::vector<Weight>& weights, const std::string& path,
                std::optional<c10::ScalarType> dtype);

}  // namespace latent_diffusion
