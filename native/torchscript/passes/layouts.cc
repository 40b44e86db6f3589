#include <torch/csrc/jit/ir/alias_analysis.h>
#include <torch/csrc/jit/ir/ir.h>

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

// What a view becomes that may copy where memory lies otherwise; none if it is not a view, or one
// of another dtype.
std::optional<c10::Symbol> LooseForm(const Node& node) {
  static const c10::Symbol view_as = Aten("view_as"), reshape_as = Aten("reshape_as");
  if (node.kind() == view_as) return reshape_as;
  const bool sizes = node.kind() == c10::aten::view && node.inputs().size() == 2 &&
                     node.input(1)->type()->kind() == c10::TypeKind::ListType;
  return sizes ? std::optional(c10::aten::reshape) : std::nullopt;
}

// What it returns, or whether it runs at all, depends on where values lie.
bool SeesLayout(const Node& node) {
  static const std::unordered_set<c10::Symbol> kinds{
      c10::aten::view,       Aten("as_strided"),     Aten("as_strided_"), Aten("stride"),
      Aten("view_as"),       Aten("set_"),           Aten("resize_"),     Aten("resize_as_"),
      Aten("is_contiguous"), Aten("view_as_complex")};
  return kinds.contains(node.kind());
}

bool IsInLoop(const Node* node) {
  for (; node != nullptr; node = node->owningBlock()->owningNode()) {
    if (node->kind() == c10::prim::Loop) return true;
  }
  return false;
}

// Whether somebody writes into what the view shows after it was taken: then it must stay a view.
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

void LoosenViews(const std::shared_ptr<torch::jit::Graph>& graph) {
  std::vector<Node*> views;
  VisitNodes(graph->block(), [&views](Node* node) {
    if (LooseForm(*node)) views.push_back(node);
  });
  if (views.empty()) return;
  const AliasDb aliases(graph);
  // All are asked before the first is changed, of which `aliases` would know nothing.
  std::erase_if(views, [&](Node* view) { return IsWrittenLater(aliases, graph, view); });
  for (Node* view : views) {
    view->replaceWithNewSymbol(*LooseForm(*view));
    view->destroy();
  }
}

// The place of a convolution's weight among its inputs.
std::optional<size_t> FindWeightInput(const Node& node) {
  static const std::unordered_set<c10::Symbol> kinds{
      c10::aten::conv2d, c10::aten::convolution, c10::aten::_convolution, Aten("conv_transpose2d")};
  if (!kinds.contains(node.kind())) return std::nullopt;
  const auto index = node.schema().argumentIndexWithName("weight");
  return index ? std::optional(static_cast<size_t>(*index)) : std::nullopt;
}

}  // namespace

bool FreeFromLayout(const Graphs& graphs) {
  bool free = true;
  for (const auto& graph : graphs) {
    LoosenViews(graph);
    VisitNodes(graph->block(), [&free](Node* node) { free = free && !SeesLayout(*node); });
  }
  return free;
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
