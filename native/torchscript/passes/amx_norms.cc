#include <torch/csrc/jit/ir/alias_analysis.h>
#include <torch/csrc/jit/ir/ir.h>

#include "torchscript/passes/graph_tools.h"
#include "torchscript/passes/passes.h"

namespace latent_diffusion {
namespace {

using torch::jit::Node;
using torch::jit::Value;

// Inputs of amx_conv2d: the picture, and the first of five that describe its norm. These five are
// those of group_norm, without the input, in the same order.
constexpr size_t kInput = 0;
constexpr size_t kNorm = 7;
// The input of group_norm that is the number of groups.
constexpr size_t kGroups = 1;

// The norm that only this convolution reads. For a convolution, 0 groups means no norm; LibTorch
// refuses 0 groups.
Node* FindNorm(Node& convolution) {
  static const c10::Symbol group_norm = c10::Symbol::fromQualString("latent_diffusion::group_norm");
  const Value* const input = convolution.input(kInput);
  Node* const norm = convolution.input(kInput)->node();
  const bool fits = norm->kind() == group_norm && input->uses().size() == 1 &&
                    norm->owningBlock() == convolution.owningBlock() &&
                    ConstantInt(norm->input(kGroups)).value_or(0) > 0;
  return fits ? norm : nullptr;
}

void Fuse(Node* convolution, Node* norm) {
  for (size_t i = 1; i < norm->inputs().size(); i++)
    convolution->replaceInput(kNorm + i - 1, norm->input(i));
  convolution->replaceInput(kInput, norm->input(0));
  norm->destroy();
}

}  // namespace

void FuseNorms(const Graphs& graphs, c10::ScalarType /*dtype*/) {
  static const c10::Symbol conv2d = c10::Symbol::fromQualString("latent_diffusion::amx_conv2d");
  for (const auto& graph : graphs) {
    const torch::jit::AliasDb aliases(graph);
    VisitNodes(graph->block(), [&aliases](Node* node) {
      if (node->kind() != conv2d) return;
      Node* const norm = FindNorm(*node);
      // The convolution reads the input later than the norm did, so nothing may write into it.
      if (norm != nullptr && !aliases.hasWriters(norm->input(0))) Fuse(node, norm);
    });
  }
}

}  // namespace latent_diffusion
