#include <torch/csrc/jit/ir/ir.h>

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "kernels/amx_kernels.h"
#include "kernels/cpu_kernels.h"
#include "kernels/direct_convolution.h"
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

struct Use {
  std::shared_ptr<torch::jit::Graph> graph;
  Node* node;
};

struct Layer {
  at::Tensor weight;
  std::vector<Use> uses;
};

bool IsSuitable(const ConvolutionNode& node, const at::Tensor& weight, c10::ScalarType dtype) {
  return !node.transposed && node.groups == 1 && node.dilation == std::vector<int64_t>{1, 1} &&
         node.stride[0] == node.stride[1] && node.padding[0] == node.padding[1] &&
         weight.scalar_type() == dtype && weight.dim() == 4 && weight.size(2) == weight.size(3) &&
         weight.size(2) <= 3 && node.padding[0] >= 0 && node.padding[0] < weight.size(2) &&
         weight.size(0) >= kLeastChannels && weight.size(1) >= kLeastChannels;
}

// By weight: the methods of a module may share it.
std::unordered_map<const c10::TensorImpl*, Layer> FindLayers(const Graphs& graphs,
                                                             c10::ScalarType dtype) {
  std::unordered_map<const c10::TensorImpl*, Layer> layers;
  for (const auto& graph : graphs) {
    const SpatialSizes sizes = EstimateSpatialSizes(*graph, kExpectedInput);
    VisitNodes(graph->block(), [&](Node* node) {
      const auto convolution = ReadConvolution(*node);
      if (!convolution) return;
      const auto weight = ConstantTensor(convolution->weight);
      const auto size = sizes.find(node->output());
      if (!weight || size == sizes.end() || !IsSuitable(*convolution, *weight, dtype) ||
          size->second.height * size->second.width > kMostPixels)
        return;
      Layer& layer = layers[weight->unsafeGetTensorImpl()];
      layer.weight = *weight;
      layer.uses.push_back({graph, node});
    });
  }
  return layers;
}

void Replace(const Use& use, const at::Tensor& weight, const at::Tensor& packed) {
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
  if (dtype != at::kFloat && (dtype != at::kBFloat16 || MultipliesMatrices())) return;
  auto layers = FindLayers(graphs, dtype);
  // One after the other, each plain weight gone before the next is packed.
  while (!layers.empty()) {
    const Layer layer = std::move(layers.extract(layers.begin()).mapped());
    const at::Tensor packed = PackDirect(layer.weight);
    for (const Use& use : layer.uses) Replace(use, layer.weight, packed);
  }
}

}  // namespace latent_diffusion
