#include <torch/csrc/jit/ir/alias_analysis.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>

#include "torchscript/passes/graph_tools.h"
#include "torchscript/passes/passes.h"

namespace latent_diffusion {
namespace {

using torch::jit::AliasDb;
using torch::jit::Node;

// The addend's place among the inputs of winograd_conv2d, direct_conv2d and amx_conv2d.
constexpr size_t kResidual = 3;

bool IsFree(const Node& node) {
  static const c10::Symbol winograd =
      c10::Symbol::fromQualString("latent_diffusion::winograd_conv2d");
  static const c10::Symbol direct = c10::Symbol::fromQualString("latent_diffusion::direct_conv2d");
  static const c10::Symbol amx = c10::Symbol::fromQualString("latent_diffusion::amx_conv2d");
  return (node.kind() == winograd || node.kind() == direct || node.kind() == amx) &&
         node.input(kResidual)->mustBeNone() && node.output()->uses().size() == 1;
}

// Not in place: an in-place addition keeps the dtype and shape of its target, which are known only
// at run time.
bool AddsTensors(const Node& node) {
  if (node.kind() != c10::aten::add || node.inputs().size() != 3) return false;
  if (node.input(1)->type()->kind() != c10::TypeKind::TensorType) return false;
  return ConstantInt(node.input(2)) == 1;
}

void Fuse(AliasDb& aliases, Node* add) {
  for (size_t i = 0; i < 2; i++) {
    Node* const convolution = add->input(i)->node();
    if (!IsFree(*convolution) || convolution->owningBlock() != add->owningBlock()) continue;
    if (!aliases.moveBeforeTopologicallyValid(convolution, add)) continue;
    convolution->replaceInput(kResidual, add->input(1 - i));
    add->output()->replaceAllUsesWith(convolution->output());
    add->destroy();
    return;
  }
}

}  // namespace

void FuseAddends(const Graphs& graphs, c10::ScalarType /*dtype*/) {
  for (const auto& graph : graphs) {
    std::vector<Node*> additions;
    VisitNodes(graph->block(), [&additions](Node* node) {
      if (AddsTensors(*node)) additions.push_back(node);
    });
    for (Node* add : additions) {
      // A new one each time: it does not see nodes that were changed after it was made.
      AliasDb aliases(graph);
      Fuse(aliases, add);
    }
  }
}

}  // namespace latent_diffusion
