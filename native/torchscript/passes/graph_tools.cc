#include "torchscript/passes/graph_tools.h"

#include <torch/csrc/jit/ir/constants.h>

#include <string>
#include <unordered_map>
#include <utility>

namespace latent_diffusion {
namespace {

using torch::jit::Node;
using torch::jit::Value;

template <typename Element>
std::optional<std::vector<Element>> ConstantList(const Value* value,
                                                 bool (c10::IValue::*is)() const) {
  std::vector<c10::IValue> elements;
  if (value->node()->kind() == c10::prim::ListConstruct) {
    for (const Value* input : value->node()->inputs()) {
      const auto element = torch::jit::toIValue(input);
      if (!element) return std::nullopt;
      elements.push_back(*element);
    }
  } else {
    const auto constant = torch::jit::toIValue(value);
    if (!constant || !constant->isList()) return std::nullopt;
    elements = constant->toListRef().vec();
  }
  std::vector<Element> result;
  for (const c10::IValue& element : elements) {
    if (!(element.*is)()) return std::nullopt;
    result.push_back(element.to<Element>());
  }
  return result;
}

}  // namespace

void VisitNodes(torch::jit::Block* block, const std::function<void(Node*)>& visit) {
  for (auto it = block->nodes().begin(); it != block->nodes().end();) {
    Node* const node = *it;
    ++it;
    for (torch::jit::Block* inner : node->blocks()) VisitNodes(inner, visit);
    visit(node);
  }
}

std::optional<std::vector<int64_t>> ConstantInts(const Value* value) {
  return ConstantList<int64_t>(value, &c10::IValue::isInt);
}

std::optional<std::vector<double>> ConstantDoubles(const Value* value) {
  return ConstantList<double>(value, &c10::IValue::isDouble);
}

bool IsConstant(const Value* value, const c10::IValue& expected) {
  const auto constant = torch::jit::toIValue(value);
  return constant && constant->tagKind() == expected.tagKind() && *constant == expected;
}

std::optional<int64_t> ConstantInt(const Value* value) {
  const auto constant = torch::jit::toIValue(value);
  if (!constant || !constant->isInt()) return std::nullopt;
  return constant->toInt();
}

std::optional<at::Tensor> ConstantTensor(const Value* value) {
  const auto constant = torch::jit::toIValue(value);
  if (!constant || !constant->isTensor() || !constant->toTensor().defined()) return std::nullopt;
  return constant->toTensor();
}

void DropUnusedConstant(Value* value) {
  Node* const node = value->node();
  if (node->kind() == c10::prim::Constant && !node->hasUses()) node->destroy();
}

void ReplaceLayer(const Layer::Use& use, const char* name, const at::Tensor& packed,
                  const std::vector<c10::IValue>& constants) {
  Node* const node = use.node;
  Value* const plain = node->namedInput("weight");
  const torch::jit::WithInsertPoint at_node(node);
  std::vector<Value*> inputs{node->namedInput("input"), use.graph->insertConstant(packed),
                             node->namedInput("bias")};
  for (const c10::IValue& constant : constants)
    inputs.push_back(use.graph->insertConstant(constant));
  const auto kind = c10::Symbol::fromQualString(std::string("latent_diffusion::") + name);
  Node* const replacement = use.graph->create(kind, inputs, /*num_outputs=*/1);
  use.graph->insertNode(replacement);
  node->output()->replaceAllUsesWith(replacement->output());
  node->destroy();
  DropUnusedConstant(plain);
}

void ReplaceWeights(const Graphs& graphs,
                    const std::function<std::optional<at::Tensor>(const Node&)>& find,
                    const std::function<void(const Layer&)>& replace) {
  std::vector<Layer> layers;
  std::unordered_map<const c10::TensorImpl*, size_t> indices;
  for (const auto& graph : graphs) {
    VisitNodes(graph->block(), [&](Node* node) {
      const auto weight = find(*node);
      if (!weight) return;
      const auto known = indices.try_emplace(weight->unsafeGetTensorImpl(), layers.size()).first;
      if (known->second == layers.size()) layers.push_back({*weight, {}});
      layers[known->second].uses.push_back({graph, node});
    });
  }
  for (Layer& each : layers) {
    const Layer layer = std::exchange(each, {});
    replace(layer);
  }
}

}  // namespace latent_diffusion
