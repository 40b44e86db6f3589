#include <torch/csrc/jit/ir/ir.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "kernels/convolution/winograd.h"
#include "torchscript/passes/convolution_node.h"
#include "torchscript/passes/graph_tools.h"
#include "torchscript/passes/passes.h"
#include "torchscript/passes/vector_convolutions.h"

namespace latent_diffusion {
namespace {

// Chooses the tile for a layer, if any. Transformed weights are 4 (4 x 4) or 16 / 9 (2 x 2) times
// as large. Many pixels pay for that, few do not. With fewer channels than about a vector, the
// transforms cost more than they save.
std::optional<WinogradTile> ChooseTile(int64_t in_channels, int64_t out_channels, int64_t pixels) {
  if (in_channels < 16 || out_channels < 16) return std::nullopt;
  if (pixels >= 24 * 24) return kTile4;
  if (pixels >= 12 * 12) return kTile2;
  return std::nullopt;
}

bool IsSuitable(const ConvolutionNode& node, const at::Tensor& weight, int64_t /*pixels*/) {
  const std::vector<int64_t> ones{1, 1};
  return node.stride == ones && node.padding == ones && weight.size(2) == 3 && weight.size(3) == 3;
}

}  // namespace

void UseWinograd(const Graphs& graphs, c10::ScalarType dtype) {
  if (!UsesVectorKernels(dtype)) return;
  const ExpectedPixels found = FindConvolutions(graphs, dtype, IsSuitable);
  const auto find = [&found](const torch::jit::Node& node) {
    return found.contains(&node) ? ConstantTensor(node.namedInput("weight")) : std::nullopt;
  };
  ReplaceWeights(graphs, find, [&found](const Layer& layer) {
    int64_t most = 0;
    for (const Layer::Use& use : layer.uses) most = std::max(most, found.at(use.node));
    const int64_t out_channels = layer.weight.size(0);
    const auto tile = ChooseTile(layer.weight.size(1), out_channels, most);
    if (!tile) return;
    const at::Tensor packed = PackWinograd(layer.weight, *tile);
    for (const Layer::Use& use : layer.uses)
      ReplaceLayer(use, "winograd_conv2d", packed, {c10::IValue(), out_channels});
  });
}

}  // namespace latent_diffusion
