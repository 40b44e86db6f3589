// Networks from TypeScript's `fromTorchScript`: files that run their own code when they are loaded.
// lib/torch/script-module.ts asks for `trusted`.

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <utility>

#include "checkpoint/random_access_file.h"
#include "error/coded_error.h"
#include "torchscript/baked_constants.h"
#include "torchscript/module_source.h"

namespace latent_diffusion {
namespace {

class LoadedModule : public ModuleSource {
 public:
  explicit LoadedModule(std::string path) : path_(std::move(path)), fresh_(Read()) {
    for (const auto& method : fresh_->get_methods()) methods_.push_back(method.name());
    for (const auto& tensor : fresh_->named_parameters()) AddParameter(tensor.name, tensor.value);
    for (const auto& tensor : fresh_->named_buffers()) AddParameter(tensor.name, tensor.value);
    FindBaked(FindBakedConstants(*fresh_));
  }

  torch::jit::Module Instantiate(const std::vector<Weight>& /*weights*/,
                                 const Placement& placement) override {
    // The first instance uses the module that was loaded for inspection. Later ones load the file
    // again, so that the weights are not held twice.
    std::optional<torch::jit::Module> module = TakeFresh();
    if (!module) module = Read();
    Move(*module, placement);
    return *std::move(module);
  }

 private:
  // Executors of several devices may call this at the same time.
  std::optional<torch::jit::Module> TakeFresh() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(fresh_, std::nullopt);
  }

  torch::jit::Module Read() const {
    const RandomAccessFile exists(path_);
    try {
      torch::jit::Module module = torch::jit::load(path_, c10::Device(c10::kCPU));
      module.eval();
      return module;
    } catch (const c10::Error& error) {
      throw CodedError("ERR_TORCHSCRIPT_INVALID",
                       path_ + " is not a TorchScript file: " + error.what_without_backtrace());
    } catch (const std::exception& error) {
      throw CodedError("ERR_TORCHSCRIPT_INVALID",
                       path_ + " is not a TorchScript file: " + error.what());
    }
  }

  void FindBaked(const BakedConstants& baked) {
    baked_device_ = baked.device;
    bool frozen = true;
    for (const ParameterInfo& parameter : parameters_) {
      if (!c10::isFloatingType(parameter.dtype)) continue;
      frozen = false;
      // A cast to the weights' own dtype is what a trace leaves of `.to(self.dtype)`.
      if (baked.casts.count(parameter.dtype) > 0) baked_dtype_ = parameter.dtype;
    }
    if (!frozen || baked.values.empty()) return;
    // The weights are constants, which cannot move. So the network runs on their device, in the
    // dtype of most of them.
    baked_dtype_ =
        std::max_element(baked.values.begin(), baked.values.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; })
            ->first;
    if (!baked_device_) baked_device_ = baked.values_device;
  }

  void AddParameter(const std::string& name, const at::Tensor& tensor) {
    parameters_.push_back({name, tensor.sizes().vec(), tensor.scalar_type()});
  }

  static void Move(torch::jit::Module& module, const Placement& placement) {
    for (const auto& parameter : module.named_parameters(/*recurse=*/false)) {
      const auto place = parameter.value.requires_grad() ? PlaceParameter : Place;
      module.setattr(parameter.name, place(parameter.value.detach(), placement));
    }
    for (const auto& buffer : module.named_buffers(/*recurse=*/false)) {
      module.setattr(buffer.name, Place(buffer.value, placement));
    }
    for (torch::jit::Module child : module.children()) Move(child, placement);
  }

  const std::string path_;
  std::mutex mutex_;
  std::optional<torch::jit::Module> fresh_;  // guarded by mutex_
};

}  // namespace

std::shared_ptr<ModuleSource> ModuleSource::Load(const std::string& path) {
  return std::make_shared<LoadedModule>(path);
}

}  // namespace latent_diffusion
