#include "torchscript/executable.h"

#include <ATen/ops/full.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/passes/freeze_module.h>
#include <torch/csrc/jit/runtime/graph_executor.h>

#include <utility>

#include "error/coded_error.h"
#include "torchscript/passes/passes.h"

namespace latent_diffusion {
namespace {

// A number in the host's memory, such as a timestep, is created anew on the device. Copying it
// would wait for all work that the device has queued.
void BringNumbers(torch::jit::Stack& arguments, const c10::Device& device) {
  for (c10::IValue& argument : arguments) {
    if (!argument.isTensor()) continue;
    const at::Tensor& tensor = argument.toTensor();
    if (!tensor.is_cpu() || tensor.numel() != 1 || tensor.dim() > 1) continue;
    argument = at::full(tensor.sizes(), tensor.item(), tensor.options().device(device));
  }
}

}  // namespace

Executable::Executable(ModuleSource& source, const std::vector<Weight>& weights,
                       const Placement& placement)
    : device_(placement.device),
      module_(std::make_unique<torch::jit::Module>(source.Instantiate(weights, placement))) {
  for (const at::Tensor& parameter : module_->parameters())
    bytes_ += static_cast<int64_t>(parameter.nbytes());
  if (!placement.optimize) return;
  {
    // Attributes become constants, which graph passes can see. The freeze is in place, because
    // nobody else has the module. This thread has the optimiser switched off; then calls would be
    // inlined only one level deep, and the methods that they call would be gone.
    const torch::jit::GraphOptimizerEnabledGuard inline_all(true);
    torch::jit::freeze_module_inplace(module_.get(), source.methods());
  }
  Graphs graphs;
  for (const std::string& method : source.methods()) {
    auto& function = torch::jit::toGraphFunction(module_->get_method(method).function());
    // Inlining left optimised copies. The interpreter would run them instead of what the passes
    // make, and they would keep the weights.
    function.clear_optimized_graphs();
    graphs.push_back(function.graph());
  }
  Optimize(graphs, placement.dtype.value_or(c10::ScalarType::Float), placement.device);
  bytes_ = ConstantBytes(graphs);
}

Executable::~Executable() = default;

const c10::FunctionSchema& Executable::Schema(const std::string& method) const {
  const auto found = module_->find_method(method);
  if (!found) throw CodedError("ERR_INVALID_ARGUMENT", "The module has no method " + method);
  return found->function().getSchema();
}

c10::IValue Executable::Run(const std::string& method, torch::jit::Stack arguments) const {
  if (!device_.is_cpu()) BringNumbers(arguments, device_);
  return module_->get_method(method)(std::move(arguments));
}

void SaveModule(ModuleSource& source, const std::vector<Weight>& weights, const std::string& path,
                std::optional<c10::ScalarType> dtype) {
  source.Instantiate(weights, Placement{c10::kCPU, dtype, /*optimize=*/false}).save(path);
}

}  // namespace latent_diffusion
