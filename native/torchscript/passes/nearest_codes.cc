#include <torch/csrc/jit/ir/ir.h>

#include "torchscript/passes/graph_tools.h"
#include "torchscript/passes/passes.h"

namespace latent_diffusion {
namespace {

using torch::jit::Node;
using torch::jit::Value;

// The distances that an argmin over codes reads, if nothing else reads them. The last argument of
// cdist chooses how it computes them; here it makes no difference.
Node* FindDistances(Node& argmin) {
  if (!IsConstant(argmin.namedInput("dim"), int64_t{1}) ||
      !IsConstant(argmin.namedInput("keepdim"), false)) {
    return nullptr;
  }
  static const c10::Symbol cdist = c10::Symbol::fromQualString("aten::cdist");
  Value* const distances = argmin.namedInput("self");
  Node* const node = distances->node();
  const bool only = node->kind() == cdist && distances->uses().size() == 1 &&
                    node->owningBlock() == argmin.owningBlock();
  return only && IsConstant(node->namedInput("p"), 2.0) ? node : nullptr;
}

}  // namespace

void SearchNearestCodes(const Graphs& graphs, c10::ScalarType /*dtype*/) {
  static const c10::Symbol nearest_codes =
      c10::Symbol::fromQualString("latent_diffusion::nearest_codes");
  for (const auto& graph : graphs) {
    VisitNodes(graph->block(), [&](Node* node) {
      Node* const distances = node->kind() == c10::aten::argmin ? FindDistances(*node) : nullptr;
      if (distances == nullptr) return;
      const torch::jit::WithInsertPoint at_node(distances);
      Node* const replacement =
          graph->create(nearest_codes, {distances->namedInput("x1"), distances->namedInput("x2")},
                        /*num_outputs=*/1);
      replacement->output()->copyMetadata(node->output());
      graph->insertNode(replacement);
      node->output()->replaceAllUsesWith(replacement->output());
      node->destroy();
      distances->destroy();
    });
  }
}

}  // namespace latent_diffusion
