#include <torch/csrc/jit/ir/ir.h>

#include <optional>
#include <unordered_set>

#include "kernels/convolution/amx_kernels.h"
#include "kernels/convolution/direct_convolution.h"
#include "kernels/simd/cpu_kernels.h"
#include "torchscript/passes/convolution_node.h"
#include "torchscript/passes/graph_tools.h"
#include "torchscript/passes/passes.h"
#include "torchscript/passes/spatial_sizes.h"

namespace latent_diffusion {
namespace {

using torch::jit::Node;
using torch::jit::Value;

constexpr SpatialSize kExpectedInput{64, 64};
// Of more pixels LibTorch's products take longer than to put the weights in order, which it does at
// each call.
constexpr int64_t kMostPixels = 12 * 12;
// With fewer channels there are few weights.
constexpr int64_t kLeastChannels = 32;

bool IsSuitable(const ConvolutionNode& node, const at::Tensor& weight, c10::ScalarType dtype) {
  return !node.transposed && node.groups == 1 && node.dilation == std::vector<int64_t>{1, 1} &&
         node.stride[0] == node.stride[1] && node.padding[0] == node.padding[1] &&
         weight.scalar_type() == dtype && weight.dim() == 4 && weight.size(2) == weight.size(3) &&
         weight.size(2) <= 3 && node.padding[0] >= 0 && node.padding[0] < weight.size(2) &&
         weight.size(0) >= kLeastChannels && weight.size(1) >= kLeastChannels;
}

// The layers of few pixels, as far as is known.
std::unordered_set<const Node*> FindConvolutions(const Graphs& graphs, c10::ScalarType dtype) {
  std::unordered_set<const Node*> found;
  for (const auto& graph : graphs) {
    const SpatialSizes sizes = EstimateSpatialSizes(*graph, kExpectedInput);
    VisitNodes(graph->block(), [&](Node* node) {
      const auto convolution = ReadConvolution(*node);
      if (!convolution) return;
      const auto weight = ConstantTensor(convolution->weight);
      const auto size = sizes.find(node->output());
      if (weight && size != sizes.end() && IsSuitable(*convolution, *weight, dtype) &&
          size->second.height * size->second.width <= kMostPixels)
        found.insert(node);
    });
  }
  return found;
}

void Replace(const Layer::Use& use, const at::Tensor& weight, const at::Tensor& packed) {
  static const c10::Symbol direct = c10::Symbol::fromQualString("latent_diffusion::direct_conv2d");
  Node* const node = use.node;
  const ConvolutionNode convolution = *ReadConvolution(*node);
  const torch::jit::WithInsertPoint at_node(node);
  std::vector<Value*> inputs{convolution.input, use.graph->insertConstant(packed), convolution.bias,
                             use.graph->insertConstant(c10::IValue())};
  for (const int64_t value : {weight.size(1), weight.size(0), weight.size(2), convolution.stride[0],
                              convolution.padding[0]}) {
    inputs.push_back(use.graph->insertConstant(value));
  }
  Node* const replacement = use.graph->create(direct, inputs, /*num_outputs=*/1);
  use.graph->insertNode(replacement);
  node->output()->replaceAllUsesWith(replacement->output());
  node->destroy();
  DropUnusedConstant(convolution.weight);
}

}  // namespace

void UseDirect(const Graphs& graphs, c10::ScalarType dtype) {
  if (FindCpuKernels() == nullptr) return;
  // In bfloat16 a CPU that multiplies matrices does better.
  if (dtype != at::kFloat && (dtype != at::kBFloat16 || HasAmx())) return;
  const auto found = FindConvolutions(graphs, dtype);
  const auto find = [&found](const Node& node) {
    return found.contains(&node) ? ConstantTensor(node.namedInput("weight")) : std::nullopt;
  };
  ReplaceWeights(graphs, find, [](const Layer& layer) {
    const at::Tensor packed = PackDirect(layer.weight);
    for (const Layer::Use& use : layer.uses) Replace(use, layer.weight, packed);
  });
}

}  // namespace latent_diffusion
