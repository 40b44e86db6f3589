// What the passes need to read and change graphs. Thread: the executor that derives the module.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "torchscript/passes/passes.h"

namespace latent_diffusion {

// Visits the nodes of a block and of the blocks within it, in order; `visit` may destroy the node
// it is given.
void VisitNodes(torch::jit::Block* block, const std::function<void(torch::jit::Node*)>& visit);

// The elements of a constant list; empty if they are not constant or not of that type.
std::optional<std::vector<int64_t>> ConstantInts(const torch::jit::Value* value);
std::optional<std::vector<double>> ConstantDoubles(const torch::jit::Value* value);

// Whether it is a constant of exactly this type and value.
bool IsConstant(const torch::jit::Value* value, const c10::IValue& expected);

std::optional<int64_t> ConstantInt(const torch::jit::Value* value);
// A defined tensor.
std::optional<at::Tensor> ConstantTensor(const torch::jit::Value* value);

// Destroys the constant if nothing uses it. That may drop the last reference to a weight.
void DropUnusedConstant(torch::jit::Value* value);

// A weight, and the nodes that read it: several methods of a module may share it.
struct Layer {
  struct Use {
    std::shared_ptr<torch::jit::Graph> graph;
    torch::jit::Node* node;
  };
  at::Tensor weight;
  std::vector<Use> uses;
};

// Replaces a convolution or linear layer by latent_diffusion::`name`, which takes its input, the
// packed weight, its bias, and then `constants`. Of a convolution the first of these is None: the
// addend, which convolution_addends.cc may set later.
void ReplaceLayer(const Layer::Use& use, const char* name, const at::Tensor& packed,
                  const std::vector<c10::IValue>& constants);

// Calls `replace` for each weight that `find` gives for a node, one after the other in the order of
// the graphs. So each plain weight that it drops is freed before the next is packed.
void ReplaceWeights(const Graphs& graphs,
                    const std::function<std::optional<at::Tensor>(const torch::jit::Node&)>& find,
                    const std::function<void(const Layer&)>& replace);

}  // namespace latent_diffusion
