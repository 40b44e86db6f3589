// A convolution of a graph, in any form that scripting or tracing gives. Thread: the executor that
// derives the module.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace latent_diffusion {

struct ConvolutionNode {
  torch::jit::Value* input;
  torch::jit::Value* weight;
  torch::jit::Value* bias;
  std::vector<int64_t> stride, padding, dilation;
  bool transposed;
  int64_t groups;
};

// Reads aten::conv2d, aten::convolution and aten::_convolution in two dimensions. Empty unless
// everything except the tensors is constant.
std::optional<ConvolutionNode> ReadConvolution(const torch::jit::Node& node);

}  // namespace latent_diffusion
