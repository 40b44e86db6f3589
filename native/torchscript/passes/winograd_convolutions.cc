#include <torch/csrc/jit/ir/ir.h>

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "kernels/convolution/amx_kernels.h"
#include "kernels/convolution/winograd.h"
#include "torchscript/passes/convolution_node.h"
#include "torchscript/passes/graph_tools.h"
#include "torchscript/passes/passes.h"
#include "torchscript/passes/spatial_sizes.h"

namespace latent_diffusion {
namespace {

using torch::jit::Node;
using torch::jit::Value;

// The latents of the usual models. The table's steps are coarse, so a picture may be half or twice
// as large.
constexpr SpatialSize kExpectedInput{64, 64};

// Which tile, if any, for a layer. Transformed weights are 4 (4 x 4) or 16 / 9 (2 x 2) times as
// large, which many pixels pay for and few do not; with fewer than about a vector of channels the
// transforms cost more than they save.
std::optional<WinogradTile> ChooseTile(int64_t in_channels, int64_t out_channels, int64_t pixels) {
  if (in_channels < 16 || out_channels < 16) return std::nullopt;
  if (pixels >= 24 * 24) return kTile4;
  if (pixels >= 12 * 12) return kTile2;
  return std::nullopt;
}

bool IsSuitable(const ConvolutionNode& node, const at::Tensor& weight, c10::ScalarType dtype) {
  const std::vector<int64_t> ones{1, 1};
  return !node.transposed && node.groups == 1 && node.stride == ones && node.padding == ones &&
         node.dilation == ones && weight.scalar_type() == dtype && weight.dim() == 4 &&
         weight.size(2) == 3 && weight.size(3) == 3;
}

// The layers that the kernel has an algorithm for, each with the pixels that it is expected to see.
using Pixels = std::unordered_map<const Node*, int64_t>;

Pixels FindConvolutions(const Graphs& graphs, c10::ScalarType dtype) {
  Pixels pixels;
  for (const auto& graph : graphs) {
    const SpatialSizes sizes = EstimateSpatialSizes(*graph, kExpectedInput);
    VisitNodes(graph->block(), [&](Node* node) {
      const auto convolution = ReadConvolution(*node);
      if (!convolution) return;
      const auto weight = ConstantTensor(convolution->weight);
      const auto size = sizes.find(convolution->input);
      if (weight && size != sizes.end() && IsSuitable(*convolution, *weight, dtype))
        pixels[node] = size->second.height * size->second.width;
    });
  }
  return pixels;
}

void Replace(const Layer::Use& use, const at::Tensor& packed, int64_t out_channels) {
  static const c10::Symbol winograd =
      c10::Symbol::fromQualString("latent_diffusion::winograd_conv2d");
  Node* const node = use.node;
  const ConvolutionNode convolution = *ReadConvolution(*node);
  const torch::jit::WithInsertPoint at_node(node);
  Value* const weight = use.graph->insertConstant(packed);
  Value* const none = use.graph->insertConstant(c10::IValue());
  Value* const channels = use.graph->insertConstant(out_channels);
  Node* const replacement = use.graph->create(
      winograd, {convolution.input, weight, convolution.bias, none, channels}, /*num_outputs=*/1);
  use.graph->insertNode(replacement);
  node->output()->replaceAllUsesWith(replacement->output());
  node->destroy();
  DropUnusedConstant(convolution.weight);
}

}  // namespace

void UseWinograd(const Graphs& graphs, c10::ScalarType dtype) {
  if (FindCpuKernels() == nullptr) return;
  // In bfloat16 the kernel computes in float32, which beats all but a CPU that multiplies matrices
  // of bfloat16.
  if (dtype != at::kFloat && (dtype != at::kBFloat16 || HasAmx())) return;
  const Pixels pixels = FindConvolutions(graphs, dtype);
  const auto find = [&pixels](const Node& node) {
    return pixels.contains(&node) ? ConstantTensor(node.namedInput("weight")) : std::nullopt;
  };
  ReplaceWeights(graphs, find, [&pixels](const Layer& layer) {
    int64_t most = 0;
    for (const Layer::Use& use : layer.uses) most = std::max(most, pixels.at(use.node));
    const int64_t out_channels = layer.weight.size(0);
    const auto tile = ChooseTile(layer.weight.size(1), out_channels, most);
    if (!tile) return;
    const at::Tensor packed = PackWinograd(layer.weight, *tile);
    for (const Layer::Use& use : layer.uses) Replace(use, packed, out_channels);
  });
}

}  // namespace latent_diffusion
