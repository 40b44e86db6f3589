#include <torch/csrc/jit/ir/ir.h>

#include "torchscript/passes/graph_tools.h"
#include "torchscript/passes/passes.h"

namespace latent_diffusion {
namespace {

using torch::jit::Node;
using torch::jit::Value;

bool IsSilu(const Node& node) {
  return node.kind() == c10::aten::silu || node.kind() == c10::aten::silu_;
}

void Replace(const std::shared_ptr<torch::jit::Graph>& graph, Node* node) {
  static const c10::Symbol group_norm = c10::Symbol::fromQualString("latent_diffusion::group_norm");
  Value* const output = node->output();
  Node* const next = output->uses().size() == 1 ? output->uses().front().user : nullptr;
  // Only within one block, so that the activation runs as often as the norm.
  const bool silu = next != nullptr && IsSilu(*next) && next->owningBlock() == node->owningBlock();
  const torch::jit::WithInsertPoint at_node(node);
  Node* const replacement = graph->create(
      group_norm,
      {node->namedInput("input"), node->namedInput("num_groups"), node->namedInput("weight"),
       node->namedInput("bias"), node->namedInput("eps"), graph->insertConstant(silu)},
      /*num_outputs=*/1);
  graph->insertNode(replacement);
  output->replaceAllUsesWith(replacement->output());
  node->destroy();
  if (!silu) return;
  next->output()->replaceAllUsesWith(replacement->output());
  next->destroy();
}

}  // namespace

void FuseGroupNorms(const Graphs& graphs, c10::ScalarType /*dtype*/) {
  for (const auto& graph : graphs) {
    std::vector<Node*> found;
    VisitNodes(graph->block(), [&found](Node* node) {
      if (node->kind() == c10::aten::group_norm) found.push_back(node);
    });
    for (Node* node : found) Replace(graph, node);
  }
}

}  // namespace latent_diffusion
