#include <torch/csrc/jit/ir/ir.h>

#include <optional>

#include "kernels/convolution/direct_convolution.h"
#include "torchscript/passes/convolution_node.h"
#include "torchscript/passes/graph_tools.h"
#include "torchscript/passes/passes.h"
#include "torchscript/passes/vector_convolutions.h"

namespace latent_diffusion {
namespace {

// LibTorch reorders the weights at each call. With more pixels than this, its products take longer
// than that.
constexpr int64_t kMostPixels = 12 * 12;
// With fewer channels there are few weights.
constexpr int64_t kLeastChannels = 32;

bool IsSuitable(const ConvolutionNode& node, const at::Tensor& weight, int64_t pixels) {
  return node.stride[0] == node.stride[1] && node.padding[0] == node.padding[1] &&
         weight.size(2) == weight.size(3) && weight.size(2) <= 3 && node.padding[0] >= 0 &&
         node.padding[0] < weight.size(2) && weight.size(0) >= kLeastChannels &&
         weight.size(1) >= kLeastChannels && pixels <= kMostPixels;
}

}  // namespace

void UseDirect(const Graphs& graphs, c10::ScalarType dtype) {
  if (!UsesVectorKernels(dtype)) return;
  const ExpectedPixels found = FindConvolutions(graphs, dtype, IsSuitable);
  const auto find = [&found](const torch::jit::Node& node) {
    return found.contains(&node) ? ConstantTensor(node.namedInput("weight")) : std::nullopt;
  };
  ReplaceWeights(graphs, find, [](const Layer& layer) {
    const at::Tensor packed = PackDirect(layer.weight);
    const int64_t in_channels = layer.weight.size(1), out_channels = layer.weight.size(0),
                  kernel = layer.weight.size(2);
    for (const Layer::Use& use : layer.uses) {
      const ConvolutionNode convolution = *ReadConvolution(*use.node);
      ReplaceLayer(use, "direct_conv2d", packed,
                   {c10::IValue(), in_channels, out_channels, kernel, convolution.stride[0],
                    convolution.padding[0]});
    }
  });
}

}  // namespace latent_diffusion
