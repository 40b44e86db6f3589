// The rewrites that make a frozen module fast; passes.cc lists them. Each leaves results equal but
// for rounding. Thread: the executor that derives the module.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <memory>
#include <vector>

namespace torch::jit {
struct Graph;
}  // namespace torch::jit

namespace latent_diffusion {

// The graphs of all of a module's methods: they share weights, which must be packed once and
// dropped by all.
using Graphs = std::vector<std::shared_ptr<torch::jit::Graph>>;

// Where a graph sees how values lie in memory, all are left as they are.
void Optimize(const Graphs& graphs, c10::ScalarType dtype, const c10::Device& device);

// Bytes of the tensors that graphs hold as constants, each counted once.
int64_t ConstantBytes(const Graphs& graphs);

// layouts.cc: what follows may lay results out as it likes once views may copy. Returns whether no
// graph sees the difference any more.
bool FreeFromLayout(const Graphs& graphs);

// layouts.cc: the weights of convolutions as channels_last, so that LibTorch computes and returns
// channels_last and the whole network follows.
void LayOutWeights(const Graphs& graphs, c10::ScalarType dtype);

// amx_products.cc: convolutions and linear layers in tiles of bfloat16, where the CPU has them.
void UseAmx(const Graphs& graphs, c10::ScalarType dtype);

// winograd_convolutions.cc: 3 x 3 convolutions of stride 1 by minimal filtering, where the table
// says that it pays.
void UseWinograd(const Graphs& graphs, c10::ScalarType dtype);

// direct_convolutions.cc: convolutions of few pixels, with weights in the order of their use.
void UseDirect(const Graphs& graphs, c10::ScalarType dtype);

// group_norms.cc: group norm with channels innermost, and the SiLU that follows it, in one
// operator.
void FuseGroupNorms(const Graphs& graphs, c10::ScalarType dtype);

// amx_norms.cc: group norm and SiLU, applied by the convolution that alone reads them.
void FuseNorms(const Graphs& graphs, c10::ScalarType dtype);

// convolution_addends.cc: what is added to a convolution's result, added by the convolution.
void FuseAddends(const Graphs& graphs, c10::ScalarType dtype);

// nearest_codes.cc: the index of the least distance, without the matrix of distances.
void SearchNearestCodes(const Graphs& graphs, c10::ScalarType dtype);

// attention.cc: scaled dot-product attention without a mask by blocks of keys.
void ReplaceAttention(const Graphs& graphs, c10::ScalarType dtype);

}  // namespace latent_diffusion
