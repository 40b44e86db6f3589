#include <torch/csrc/jit/ir/alias_analysis.h>
#include <torch/csrc/jit/ir/ir.h>

#include <algorithm>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "torchscript/passes/graph_tools.h"
#include "torchscript/passes/passes.h"

namespace latent_diffusion {
namespace {

using torch::jit::AliasDb;
using torch::jit::Node;

c10::Symbol Aten(const char* name) {
  return c10::Symbol::fromQualString(std::string("aten::") + name);
}

// The form of a view that may copy if the layout requires it; none if the node is not a view, or
// changes the dtype.
std::optional<c10::Symbol> LooseForm(const Node& node) {
  static const c10::Symbol view_as = Aten("view_as"), reshape_as = Aten("reshape_as"),
                           unsafe_view = Aten("_unsafe_view");
  if (node.kind() == view_as) return reshape_as;
  const bool view = node.kind() == c10::aten::view || node.kind() == unsafe_view;
  const bool sizes =
      view && node.inputs().size() == 2 && node.input(1)->type()->kind() == c10::TypeKind::ListType;
  return sizes ? std::optional(c10::aten::reshape) : std::nullopt;
}

// Whether its result, or whether it runs at all, depends on the memory layout.
bool SeesLayout(const Node& node) {
  static const std::unordered_set<c10::Symbol> kinds{c10::aten::view,
                                                     Aten("_reshape_alias"),
                                                     Aten("_unsafe_view"),
                                                     Aten("as_strided"),
                                                     Aten("as_strided_"),
                                                     Aten("is_contiguous"),
                                                     Aten("is_non_overlapping_and_dense"),
                                                     Aten("resize_"),
                                                     Aten("resize_as_"),
                                                     Aten("set_"),
                                                     Aten("storage_offset"),
                                                     Aten("stride"),
                                                     Aten("view_as"),
                                                     Aten("view_as_complex")};
  return kinds.contains(node.kind());
}

// Whether it returns a view or a copy, depending on the layout. The difference shows only if
// somebody writes into the result.
bool MayCopy(const Node& node) {
  static const std::unordered_set<c10::Symbol> kinds{c10::aten::reshape, Aten("reshape_as"),
                                                     c10::aten::flatten, c10::aten::contiguous,
                                                     Aten("ravel"),      Aten("unflatten")};
  return kinds.contains(node.kind());
}

bool IsInLoop(const Node* node) {
  for (; node != nullptr; node = node->owningBlock()->owningNode()) {
    if (node->kind() == c10::prim::Loop) return true;
  }
  return false;
}

// Whether something writes into the view's memory after it was taken. Then it must stay a view.
bool IsWrittenLater(const AliasDb& aliases, const std::shared_ptr<torch::jit::Graph>& graph,
                    Node* view) {
  if (!aliases.hasWriters(view->output())) return false;
  const bool repeated = IsInLoop(view);
  bool written = false;
  VisitNodes(graph->block(), [&](Node* node) {
    if (node != view && node->blocks().empty() && (repeated || !node->isBefore(view)))
      written = written || aliases.writesToAlias(node, {view->output()});
  });
  return written;
}

// Whether nothing that a graph returns depends on the layout, once its views may copy.
bool IsFree(const std::shared_ptr<torch::jit::Graph>& graph) {
  const AliasDb aliases(graph);
  bool free = true;
  VisitNodes(graph->block(), [&](Node* node) {
    if (!free) return;
    if (LooseForm(*node) || MayCopy(*node)) {
      free = !IsWrittenLater(aliases, graph, node);
    } else {
      free = !SeesLayout(*node);
    }
  });
  return free;
}

void LoosenViews(const std::shared_ptr<torch::jit::Graph>& graph) {
  VisitNodes(graph->block(), [](Node* node) {
    const auto loose = LooseForm(*node);
    if (!loose) return;
    node->replaceWithNewSymbol(*loose);
    node->destroy();
  });
}

// The index of a convolution's weight among its inputs.
std::optional<size_t> FindWeightInput(const Node& node) {
  static const std::unordered_set<c10::Symbol> kinds{
      c10::aten::conv2d, c10::aten::convolution, c10::aten::_convolution, Aten("conv_transpose2d")};
  if (!kinds.contains(node.kind())) return std::nullopt;
  const auto index = node.schema().argumentIndexWithName("weight");
  return index ? std::optional(static_cast<size_t>(*index)) : std::nullopt;
}

}  // namespace

bool FreeFromLayout(const Graphs& graphs) {
  if (!std::all_of(graphs.begin(), graphs.end(), IsFree)) return false;
  for (const auto& graph : graphs) LoosenViews(graph);
  return true;
}

void LayOutWeights(const Graphs& graphs, c10::ScalarType /*dtype*/) {
  const auto find = [](const Node& node) -> std::optional<at::Tensor> {
    const auto index = FindWeightInput(node);
    const auto weight = index ? ConstantTensor(node.input(*index)) : std::nullopt;
    const bool other = weight && weight->dim() == 4 && weight->is_floating_point() &&
                       !weight->is_contiguous(c10::MemoryFormat::ChannelsLast);
    return other ? weight : std::nullopt;
  };
  ReplaceWeights(graphs, find, [](const Layer& layer) {
    const at::Tensor placed = layer.weight.contiguous(c10::MemoryFormat::ChannelsLast);
    for (const auto& [graph, node] : layer.uses) {
      const auto index = FindWeightInput(*node);
      if (!index) continue;
      const torch::jit::WithInsertPoint at_node(node);
      torch::jit::Value* const plain = node->input(*index);
      node->replaceInput(*index, graph->insertConstant(placed));
      DropUnusedConstant(plain);
    }
  });
}

}  // namespace latent_diffusion
