// Networks that TypeScript wrote: compiled once, instantiated as often as needed.

#include <ATen/ops/empty.h>
#include <torch/csrc/jit/api/module.h>

#include <stdexcept>

#include "checkpoint/coded_error.h"
#include "torchscript/module_source.h"

namespace latent_diffusion {
namespace {

class DefinedModule : public ModuleSource {
 public:
  explicit DefinedModule(const ModuleSpec& spec)
      : unit_(std::make_shared<torch::jit::CompilationUnit>()), root_(Compile(spec, "")) {
    for (const auto& method : root_.prototype.get_methods()) methods_.push_back(method.name());
  }

  torch::jit::Module Instantiate(const std::vector<Weight>& weights, const Placement& placement) override {
    if (weights.size() != parameters_.size()) {
      throw CodedError("ERR_INTERNAL", "A module of " + std::to_string(parameters_.size()) +
                                           " parameters was given " + std::to_string(weights.size()) + " weights");
    }
    size_t next = 0;
    return Instantiate(root_, weights, placement, next);
  }

 private:
  // One class: its compiled type, and what an instance of it needs.
  struct Node {
    torch::jit::Module prototype;
    std::vector<std::string> parameters;
    std::vector<std::pair<std::string, Node>> children;
  };

  Node Compile(const ModuleSpec& spec, const std::string& prefix) {
    Node node{torch::jit::Module(c10::QualifiedName("__torch__.latent_diffusion." + spec.name), unit_,
                                 /*shouldMangle=*/true),
              {},
              {}};
    // Python's eval() and torch::jit::freeze both look for it.
    node.prototype.register_attribute("training", c10::BoolType::get(), false);
    for (const auto& [name, shape] : spec.parameters) {
      node.prototype.register_parameter(name, at::empty({0}), /*is_buffer=*/false);
      node.parameters.push_back(name);
      parameters_.push_back({prefix + name, shape, c10::ScalarType::Float});
    }
    for (const auto& [name, child] : spec.children) {
      Node compiled = Compile(child, prefix + name + ".");
      node.prototype.register_module(name, compiled.prototype);
      node.children.emplace_back(name, std::move(compiled));
    }
    node.prototype.define(spec.source);
    return node;
  }

  torch::jit::Module Instantiate(const Node& node, const std::vector<Weight>& weights,
                                 const Placement& placement, size_t& next) const {
    torch::jit::Module instance(unit_, node.prototype.type());
    instance.setattr("training", false);
    for (const std::string& name : node.parameters) {
      const ParameterInfo& info = parameters_[next];
      const at::Tensor weight = LoadWeight(weights[next]);
      if (weight.sizes() != c10::IntArrayRef(info.shape)) {
        throw CodedError("ERR_CHECKPOINT_INVALID", "The shape of " + info.name + " is not the network's");
      }
      instance.setattr(name, Place(weight, placement));
      next++;
    }
    for (const auto& [name, child] : node.children) {
      instance.setattr(name, Instantiate(child, weights, placement, next)._ivalue());
    }
    return instance;
  }

  std::shared_ptr<torch::jit::CompilationUnit> unit_;
  Node root_;
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
