#include "torchscript/baked_constants.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/function_schema.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>

namespace latent_diffusion {
namespace {

void FindInNode(const torch::jit::Node& node, BakedConstants& found);

void CountValues(const torch::jit::Node& constant, BakedConstants& found) {
  const auto value = torch::jit::toIValue(constant.output());
  if (!value || !value->isTensor()) return;
  const at::Tensor& tensor = value->toTensor();
  // A tensor without dimensions is a number; it takes the dtype of what it meets.
  if (!tensor.defined() || tensor.dim() == 0 || !tensor.is_floating_point()) return;
  found.values[tensor.scalar_type()] += tensor.numel();
  found.values_device = tensor.device();
}

void FindInBlock(const torch::jit::Block& block, BakedConstants& found) {
  for (const torch::jit::Node* node : block.nodes()) FindInNode(*node, found);
}

void FindInNode(const torch::jit::Node& node, BakedConstants& found) {
  for (const torch::jit::Block* block : node.blocks()) FindInBlock(*block, found);
  if (node.kind() == c10::prim::Constant) CountValues(node, found);
  for (const torch::jit::Value* input : node.inputs()) {
    if (input->node()->kind() != c10::prim::Constant ||
        input->type()->kind() != c10::TypeKind::DeviceObjType)
      continue;
    found.device = torch::jit::toIValue(input)->toDevice();
  }
  if (node.kind() != c10::aten::to) return;
  const c10::FunctionSchema* schema = node.maybeSchema();
  const auto index = schema != nullptr ? schema->argumentIndexWithName("dtype") : std::nullopt;
  if (!index) return;
  const auto constant = torch::jit::toIValue(node.input(*index));
  if (!constant || !constant->isInt()) return;
  const auto dtype = static_cast<c10::ScalarType>(constant->toInt());
  if (c10::isFloatingType(dtype)) found.casts.insert(dtype);
}

}  // namespace

BakedConstants FindBakedConstants(const torch::jit::Module& module) {
  BakedConstants found;
  for (const torch::jit::Module& submodule : module.modules()) {
    for (const torch::jit::Method& method : submodule.get_methods()) {
      FindInBlock(*torch::jit::toGraphFunction(method.function()).graph()->block(), found);
    }
  }
  return found;
}

}  // namespace latent_diffusion
