// How large the pictures are that a graph works on, estimated from the size of its input. An
// estimate chooses kernels, which are all correct at every size: where it errs, only speed is lost.
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
