#include "torchscript/passes/spatial_sizes.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "torchscript/passes/convolution_node.h"
#include "torchscript/passes/graph_tools.h"

namespace latent_diffusion {
namespace {

using torch::jit::Block;
using torch::jit::Node;
using torch::jit::Value;

// Turns any number of a graph into a length. It is computed in double, so that nothing overflows.
int64_t ToLength(double length) {
  constexpr double kMost = 1 << 24;
  return length >= 1 ? static_cast<int64_t>(std::min(length, kMost)) : 1;
}

class Estimator {
 public:
  void Visit(const Block& block) {
    for (const Node* node : block.nodes()) Visit(*node);
  }

  SpatialSizes sizes;

 private:
  void Visit(const Node& node) {
    for (const Block* block : node.blocks()) {
      // The first round of a loop starts with the loop's inputs; the trip count and the condition
      // come before them.
      if (node.kind() == c10::prim::Loop) {
        for (size_t i = 1; i < block->inputs().size(); i++)
          Copy(node.input(i + 1), block->inputs()[i]);
      }
      Visit(*block);
      const size_t skipped = node.kind() == c10::prim::Loop ? 1 : 0;
      for (size_t i = 0; i < node.outputs().size(); i++)
        Copy(block->outputs()[i + skipped], node.outputs()[i]);
    }
    if (!node.blocks().empty()) return;
    const auto from = FirstKnown(node);
    if (!from) return;
    const SpatialSize to = After(node, *from);
    for (const Value* output : node.outputs()) sizes[output] = to;
  }

  void Copy(const Value* from, const Value* to) {
    const auto found = sizes.find(from);
    if (found != sizes.end()) sizes[to] = SpatialSize(found->second);
  }

  // Most operators return the size of their input: sums, norms, attention, the lists that
  // concatenations take.
  std::optional<SpatialSize> FirstKnown(const Node& node) const {
    for (const Value* input : node.inputs()) {
      const auto found = sizes.find(input);
      if (found != sizes.end()) return found->second;
    }
    return std::nullopt;
  }

  static SpatialSize After(const Node& node, SpatialSize size) {
    if (const auto convolution = ReadConvolution(node)) return AfterConvolution(*convolution, size);
    if (node.kind() == c10::aten::upsample_nearest2d) return AfterUpsampling(node, size);
    if (node.kind() == c10::aten::avg_pool2d || node.kind() == c10::aten::max_pool2d) {
      const auto kernel = ConstantInts(node.input(1));
      if (!kernel || kernel->empty() || kernel->front() < 1 || kernel->back() < 1) return size;
      return {std::max<int64_t>(1, size.height / kernel->front()),
              std::max<int64_t>(1, size.width / kernel->back())};
    }
    if (node.kind() == c10::aten::constant_pad_nd || node.kind() == c10::aten::pad) {
      const auto pad = ConstantInts(node.input(1));
      if (!pad || pad->size() != 4) return size;
      const auto after = [&pad](int64_t length, size_t side) {
        return ToLength(static_cast<double>(length) + static_cast<double>((*pad)[side]) +
                        static_cast<double>((*pad)[side + 1]));
      };
      return {after(size.height, 2), after(size.width, 0)};
    }
    return size;
  }

  static SpatialSize AfterConvolution(const ConvolutionNode& node, SpatialSize size) {
    const auto stride = [&node](size_t i) { return static_cast<double>(node.stride[i]); };
    if (node.transposed) {
      return {ToLength(static_cast<double>(size.height) * stride(0)),
              ToLength(static_cast<double>(size.width) * stride(1))};
    }
    const auto weight = ConstantTensor(node.weight);
    // LibTorch will refuse these; here they must not divide by zero.
    if (!weight || weight->dim() != 4 || node.stride[0] < 1 || node.stride[1] < 1) return size;
    const auto after = [&](int64_t length, size_t i) {
      const auto taps = static_cast<double>(weight->size(static_cast<int64_t>(i) + 2));
      const double reach = static_cast<double>(node.dilation[i]) * (taps - 1);
      const double last =
          static_cast<double>(length) + 2 * static_cast<double>(node.padding[i]) - reach - 1;
      return ToLength(std::floor(last / stride(i)) + 1);
    };
    return {after(size.height, 0), after(size.width, 1)};
  }

  static SpatialSize AfterUpsampling(const Node& node, SpatialSize size) {
    for (const Value* input : node.inputs()) {
      const auto scales = ConstantDoubles(input);
      if (!scales || scales->empty()) continue;
      return {ToLength(static_cast<double>(size.height) * scales->front()),
              ToLength(static_cast<double>(size.width) * scales->back())};
    }
    return size;
  }
};

}  // namespace

SpatialSizes EstimateSpatialSizes(const torch::jit::Graph& graph, SpatialSize input) {
  Estimator estimator;
  for (const Value* value : graph.inputs()) {
    if (value->type()->kind() != c10::TypeKind::TensorType) continue;
    estimator.sizes[value] = input;
    break;
  }
  estimator.Visit(*graph.block());
  return estimator.sizes;
}

}  // namespace latent_diffusion
