#include "torchscript/passes/convolution_node.h"

#include <torch/csrc/jit/ir/constants.h>

#include "torchscript/passes/graph_tools.h"

namespace latent_diffusion {
namespace {

// A single number stands for both dimensions.
bool ReadPair(const torch::jit::Value* value, std::vector<int64_t>& pair) {
  auto list = ConstantInts(value);
  if (!list) {
    const auto single = ConstantInt(value);
    if (!single) return false;
    list = {*single};
  }
  if (list->size() == 1) list->push_back(list->front());
  pair = *std::move(list);
  return pair.size() == 2;
}

}  // namespace

std::optional<ConvolutionNode> ReadConvolution(const torch::jit::Node& node) {
  const bool simple = node.kind() == c10::aten::conv2d;
  if (!simple && node.kind() != c10::aten::convolution && node.kind() != c10::aten::_convolution)
    return std::nullopt;
  ConvolutionNode read{};
  read.input = node.namedInput("input");
  read.weight = node.namedInput("weight");
  read.bias = node.namedInput("bias");
  // A padding given as a word, "same", is not supported.
  if (!ReadPair(node.namedInput("stride"), read.stride) ||
      !ReadPair(node.namedInput("padding"), read.padding) ||
      !ReadPair(node.namedInput("dilation"), read.dilation)) {
    return std::nullopt;
  }
  const auto groups = ConstantInt(node.namedInput("groups"));
  if (!groups) return std::nullopt;
  read.groups = *groups;
  if (!simple) {
    const auto transposed = torch::jit::toIValue(node.namedInput("transposed"));
    if (!transposed || !transposed->isBool()) return std::nullopt;
    read.transposed = transposed->toBool();
  }
  return read;
}

}  // namespace latent_diffusion
