// Estimates the picture size at each value of a graph from the size of its input. The estimate
// chooses kernels. They are all correct at every size, so a wrong estimate costs only speed.
// Thread: the executor that derives the module.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>
#include <unordered_map>

namespace latent_diffusion {

struct SpatialSize {
  int64_t height, width;
};

using SpatialSizes = std::unordered_map<const torch::jit::Value*, SpatialSize>;

// `input` is the size of the first tensor that the graph takes.
SpatialSizes EstimateSpatialSizes(const torch::jit::Graph& graph, SpatialSize input);

}  // namespace latent_diffusion
