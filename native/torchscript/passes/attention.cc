#include <torch/csrc/jit/ir/ir.h>

#include "torchscript/passes/graph_tools.h"
#include "torchscript/passes/passes.h"

namespace latent_diffusion {
namespace {

using torch::jit::Node;

bool IsPlainAttention(const Node& node) {
  static const c10::Symbol attention =
      c10::Symbol::fromQualString("aten::scaled_dot_product_attention");
  return node.kind() == attention && IsConstant(node.namedInput("attn_mask"), c10::IValue()) &&
         IsConstant(node.namedInput("dropout_p"), 0.0) &&
         IsConstant(node.namedInput("is_causal"), false) &&
         IsConstant(node.namedInput("enable_gqa"), false);
}

}  // namespace

void ReplaceAttention(const Graphs& graphs, c10::ScalarType /*dtype*/) {
  static const c10::Symbol attention = c10::Symbol::fromQualString("latent_diffusion::attention");
  for (const auto& graph : graphs) {
    VisitNodes(graph->block(), [&](Node* node) {
      if (!IsPlainAttention(*node)) return;
      const torch::jit::WithInsertPoint at_node(node);
      Node* const replacement =
          graph->create(attention,
                        {node->namedInput("query"), node->namedInput("key"),
                         node->namedInput("value"), node->namedInput("scale")},
                        /*num_outputs=*/1);
      graph->insertNode(replacement);
      node->output()->replaceAllUsesWith(replacement->output());
      node->destroy();
    });
  }
}

}  // namespace latent_diffusion
