#include "torchscript/passes/vector_convolutions.h"

#include <vector>

#include "kernels/convolution/amx_kernels.h"
#include "kernels/simd/cpu_kernels.h"
#include "torchscript/passes/graph_tools.h"
#include "torchscript/passes/spatial_sizes.h"

namespace latent_diffusion {
namespace {

// The latents of the usual models. The tables of both passes are coarse, so a picture may be half
// or twice as large.
constexpr SpatialSize kExpectedInput{64, 64};

bool IsPlain(const ConvolutionNode& node, const at::Tensor& weight, c10::ScalarType dtype) {
  return !node.transposed && node.groups == 1 && node.dilation == std::vector<int64_t>{1, 1} &&
         weight.scalar_type() == dtype && weight.dim() == 4;
}

}  // namespace

bool UsesVectorKernels(c10::ScalarType dtype) {
  if (FindCpuKernels() == nullptr) return false;
  return dtype == at::kFloat || (dtype == at::kBFloat16 && !HasAmx());
}

ExpectedPixels FindConvolutions(const Graphs& graphs, c10::ScalarType dtype,
                                bool (*suits)(const ConvolutionNode&, const at::Tensor&, int64_t)) {
  ExpectedPixels found;
  for (const auto& graph : graphs) {
    const SpatialSizes sizes = EstimateSpatialSizes(*graph, kExpectedInput);
    VisitNodes(graph->block(), [&](torch::jit::Node* node) {
      const auto convolution = ReadConvolution(*node);
      if (!convolution) return;
      const auto weight = ConstantTensor(convolution->weight);
      const auto size = sizes.find(node->output());
      if (!weight || size == sizes.end() || !IsPlain(*convolution, *weight, dtype)) return;
      const int64_t pixels = size->second.height * size->second.width;
      if (suits(*convolution, *weight, pixels)) found[node] = pixels;
    });
  }
  return found;
}

}  // namespace latent_diffusion
