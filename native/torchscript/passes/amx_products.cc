#include <torch/csrc/jit/ir/alias_analysis.h>
#include <torch/csrc/jit/ir/ir.h>

#include <algorithm>

#include "kernels/convolution/amx_convolution.h"
#include "kernels/convolution/amx_kernels.h"
#include "torchscript/passes/convolution_node.h"
#include "torchscript/passes/graph_tools.h"
#include "torchscript/passes/passes.h"

namespace latent_diffusion {
namespace {

using torch::jit::Node;
using torch::jit::Value;

// The stride, or empty if AMX has no kernel for the convolution.
std::optional<int64_t> SuitableStride(const ConvolutionNode& node, const at::Tensor& weight) {
  if (weight.dim() != 4 || node.transposed || node.groups != 1 ||
      node.dilation != std::vector<int64_t>{1, 1} || node.stride[0] != node.stride[1] ||
      weight.size(2) != weight.size(3))
    return std::nullopt;
  const int64_t kernel = weight.size(2), stride = node.stride[0];
  const bool padded = node.padding == std::vector<int64_t>{kernel / 2, kernel / 2};
  const bool suits =
      padded && (kernel == 3 ? stride == 1 || stride == 2 : kernel == 1 && stride == 1);
  return suits ? std::optional(stride) : std::nullopt;
}

// A bias of another shape is broadcast by LibTorch, and not by our kernels.
bool IsBias(const Value* bias, int64_t out_channels) {
  if (bias->mustBeNone()) return true;
  const auto constant = ConstantTensor(bias);
  return constant && constant->sizes() == c10::IntArrayRef{out_channels};
}

// The weight of a convolution or linear layer that AMX has a kernel for.
std::optional<at::Tensor> FindWeight(const Node& node, c10::ScalarType dtype) {
  std::optional<at::Tensor> weight;
  if (const auto convolution = ReadConvolution(node)) {
    weight = ConstantTensor(convolution->weight);
    if (!weight || !SuitableStride(*convolution, *weight)) return std::nullopt;
  } else if (node.kind() == c10::aten::linear) {
    weight = ConstantTensor(node.namedInput("weight"));
    if (!weight || weight->dim() != 2 || !IsBias(node.namedInput("bias"), weight->size(0)))
      return std::nullopt;
  }
  if (!weight || weight->scalar_type() != dtype || weight->numel() == 0) return std::nullopt;
  return weight;
}

// The operator that enlarges each pixel to 2 x 2, if only this convolution reads its result.
Node* FindUpsampling(Node& node) {
  Value* const input = node.inputs().front();
  Node* const upsampling = input->node();
  if (upsampling->kind() != c10::aten::upsample_nearest2d || upsampling->inputs().size() != 3 ||
      input->uses().size() != 1 || upsampling->owningBlock() != node.owningBlock() ||
      !upsampling->input(1)->mustBeNone())
    return nullptr;
  return ConstantDoubles(upsampling->input(2)) == std::vector<double>{2, 2} ? upsampling : nullptr;
}

// Whether each use is a 3 x 3 convolution of an enlarged picture. The convolution will read the
// picture later than the upsampling did, so nothing may write into it.
bool AreUpsampling(const Layer& layer) {
  if (layer.weight.dim() != 4 || layer.weight.size(2) != 3) return false;
  return std::all_of(layer.uses.begin(), layer.uses.end(), [&](const Layer::Use& use) {
    const auto convolution = ReadConvolution(*use.node);
    if (!convolution || SuitableStride(*convolution, layer.weight) != 1) return false;
    Node* const upsampling = FindUpsampling(*use.node);
    return upsampling != nullptr &&
           !torch::jit::AliasDb(use.graph).hasWriters(upsampling->input(0));
  });
}

// Makes the convolution read the picture before it is enlarged.
void DropUpsampling(Node* node) {
  Node* const upsampling = FindUpsampling(*node);
  node->replaceInput(0, upsampling->input(0));
  upsampling->destroy();
}

void Replace(const Layer::Use& use, const at::Tensor& weight, const at::Tensor& packed) {
  const auto convolution = ReadConvolution(*use.node);
  const auto stride = convolution ? SuitableStride(*convolution, weight) : std::nullopt;
  const int64_t in_channels = weight.size(1), out_channels = weight.size(0);
  if (!stride) return ReplaceLayer(use, "amx_linear", packed, {in_channels, out_channels});
  // amx_norms.cc may replace what follows the stride by a norm: groups, weight, bias, eps, SiLU.
  ReplaceLayer(use, "amx_conv2d", packed,
               {c10::IValue(), in_channels, out_channels, *stride, 0, c10::IValue(), c10::IValue(),
                0.0, false});
}

}  // namespace

void UseAmx(const Graphs& graphs, c10::ScalarType dtype) {
  if (FindAmxKernels() == nullptr || (dtype != at::kFloat && dtype != at::kBFloat16)) return;
  const auto find = [dtype](const Node& node) { return FindWeight(node, dtype); };
  ReplaceWeights(graphs, find, [](const Layer& layer) {
    const bool upsampling = AreUpsampling(layer);
    const at::Tensor packed = upsampling ? PackAmxUpsampling(layer.weight) : PackAmx(layer.weight);
    for (const Layer::Use& use : layer.uses) {
      if (upsampling) DropUpsampling(use.node);
      Replace(use, layer.weight, packed);
    }
  });
}

}  // namespace latent_diffusion
