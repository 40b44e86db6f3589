// Networks that TypeScript wrote. Each instance is compiled separately (tens of milliseconds for
// the full-size UNet). An optimised one has its weights as constants in its code, and a shared
// compilation unit would keep those for ever.

#include <ATen/ops/empty.h>
#include <torch/csrc/jit/api/module.h>

#include <functional>
#include <stdexcept>
#include <utility>

#include "error/coded_error.h"
#include "torchscript/module_source.h"

namespace latent_diffusion {
namespace {

using Unit = std::shared_ptr<torch::jit::CompilationUnit>;
// Returns the values of the next parameter, in the order of the specification.
using NextWeight =
    std::function<at::Tensor(const std::string& name, const std::vector<int64_t>& shape)>;

torch::jit::Module Compile(const ModuleSpec& spec, const std::string& prefix, const Unit& unit,
                           const NextWeight& next) {
  torch::jit::Module module(c10::QualifiedName("__torch__.latent_diffusion." + spec.name), unit,
                            /*shouldMangle=*/true);
  // Python's eval() and torch::jit::freeze both look for it.
  module.register_attribute("training", c10::BoolType::get(), false);
  for (const auto& [name, shape] : spec.parameters) {
    module.register_parameter(name, next(prefix + name, shape), /*is_buffer=*/false);
  }
  for (const auto& [name, child] : spec.children) {
    module.register_module(name, Compile(child, prefix + name + ".", unit, next));
  }
  // The parser needs a newline at the end of the last line.
  module.define(spec.source + "\n");
  return module;
}

class DefinedModule : public ModuleSource {
 public:
  explicit DefinedModule(const ModuleSpec& spec) : spec_(spec) {
    const auto list = [this](const std::string& name, const std::vector<int64_t>& shape) {
      parameters_.push_back({name, shape, c10::ScalarType::Float});
      return at::empty({0});
    };
    const torch::jit::Module module =
        Compile(spec_, "", std::make_shared<torch::jit::CompilationUnit>(), list);
    for (const auto& method : module.get_methods()) methods_.push_back(method.name());
  }

  torch::jit::Module Instantiate(const std::vector<Weight>& weights,
                                 const Placement& placement) override {
    if (weights.size() != parameters_.size()) {
      throw CodedError("ERR_INTERNAL", "A module of " + std::to_string(parameters_.size()) +
                                           " parameters was given " +
                                           std::to_string(weights.size()) + " weights");
    }
    // Optimised, products are other ones, over packed weights.
    const Address address = placement.optimize ? Address::kAligned : Address::kAsMapped;
    size_t index = 0;
    const auto load = [&](const std::string& name, const std::vector<int64_t>& shape) {
      const at::Tensor weight = LoadWeight(weights[index++], address);
      if (weight.sizes() != c10::IntArrayRef(shape)) {
        throw CodedError("ERR_CHECKPOINT_INVALID",
                         "The shape of " + name + " is not the network's");
      }
      return PlaceParameter(weight, placement);
    };
    return Compile(spec_, "", std::make_shared<torch::jit::CompilationUnit>(), load);
  }

 private:
  const ModuleSpec spec_;
};

}  // namespace

std::shared_ptr<ModuleSource> ModuleSource::Define(const ModuleSpec& spec) {
  try {
    return std::make_shared<DefinedModule>(spec);
  } catch (const CodedError&) {
    throw;
  } catch (const c10::Error& error) {
    throw CodedError("ERR_TORCHSCRIPT_INVALID", error.what_without_backtrace());
  } catch (const std::exception& error) {
    throw CodedError("ERR_TORCHSCRIPT_INVALID", error.what());
  }
}

}  // namespace latent_diffusion
