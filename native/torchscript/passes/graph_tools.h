// What passes ask of graphs. Thread: the executor that derives the module.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <functional>
#include <optional>
#include <vector>

namespace latent_diffusion {

// Visits the nodes of a block and of the blocks within it, in order; `visit` may destroy the node
// it is given.
void VisitNodes(torch::jit::Block* block, const std::function<void(torch::jit::Node*)>& visit);

// A list of constants, or of one constant for all: empty where they are not constant, or not of
// that type.
std::optional<std::vector<int64_t>> ConstantInts(const torch::jit::Value* value);
std::optional<std::vector<double>> ConstantDoubles(const torch::jit::Value* value);

std::optional<int64_t> ConstantInt(const torch::jit::Value* value);
// A defined tensor.
std::optional<at::Tensor> ConstantTensor(const torch::jit::Value* value);

// Destroys the constant if nothing uses it, and with it, perhaps, the last reference to a weight.
void DropUnusedConstant(torch::jit::Value* value);

}  // namespace latent_diffusion
