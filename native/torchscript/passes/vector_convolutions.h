// What the two passes for vector kernels, winograd and direct, share. Thread: the executor that
// derives the module.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>
#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>
#include <unordered_map>

#include "torchscript/passes/convolution_node.h"
#include "torchscript/passes/passes.h"

namespace latent_diffusion {

// Whether vector kernels are the fastest for this dtype on this CPU. In bfloat16 they compute in
// float32, which beats all except a CPU with AMX.
bool UsesVectorKernels(c10::ScalarType dtype);

// Convolutions, each with the number of pixels that its result is expected to have.
using ExpectedPixels = std::unordered_map<const torch::jit::Node*, int64_t>;

// Finds the convolutions in one group, undilated, with a constant weight of this dtype and a known
// picture size, that `suits` accepts.
ExpectedPixels FindConvolutions(const Graphs& graphs, c10::ScalarType dtype,
                                bool (*suits)(const ConvolutionNode& node, const at::Tensor& weight,
                                              int64_t pixels));

}  // namespace latent_diffusion
