#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>

#include "torchscript/passes/graph_tools.h"
#include "torchscript/passes/passes.h"

namespace latent_diffusion {
namespace {

using torch::jit::Node;
using torch::jit::Value;

// Inputs of amx_conv2d.
constexpr size_t kInput = 0;
constexpr size_t kNorm = 7;
constexpr size_t kSilu = 8;

// The norm that only this convolution reads.
Node* FindNorm(Node& convolution) {
  static const c10::Symbol group_norm = c10::Symbol::fromQualString("latent_diffusion::group_norm");
  Value* const input = convolution.input(kInput);
  Node* const norm = input->node();
  const bool fits = norm->kind() == group_norm && input->uses().size() == 1 &&
                    norm->owningBlock() == convolution.owningBlock();
  return fits ? norm : nullptr;
}

void Fuse(const std::shared_ptr<torch::jit::Graph>& graph, Node* convolution, Node* norm) {
  static const c10::Symbol group_norm_scales =
      c10::Symbol::fromQualString("latent_diffusion::group_norm_scales");
  const torch::jit::WithInsertPoint at_norm(norm);
  // All but the last input, which says whether SiLU follows.
  Node* const scales = graph->create(group_norm_scales, norm->inputs().slice(0, 5),
                                     /*num_outputs=*/1);
  graph->insertNode(scales);
  convolution->replaceInput(kNorm, scales->output());
  convolution->replaceInput(kSilu, norm->input(5));
  convolution->replaceInput(kInput, norm->input(0));
  norm->destroy();
}

}  // namespace

void FuseNorms(const Graphs& graphs, c10::ScalarType /*dtype*/) {
  static const c10::Symbol conv2d = c10::Symbol::fromQualString("latent_diffusion::amx_conv2d");
  for (const auto& graph : graphs) {
    VisitNodes(graph->block(), [&graph](Node* node) {
      if (node->kind() != conv2d) return;
      if (Node* const norm = FindNorm(*node)) Fuse(graph, node, norm);
    });
  }
}

}  // namespace latent_diffusion
