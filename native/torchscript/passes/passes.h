// The rewrites that make a frozen module fast; passes.cc lists them. Results stay equal except for
// rounding. Thread: the executor that derives the module.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <memory>
#include <vector>

namespace torch::jit {
struct Graph;
}  // namespace torch::jit

namespace latent_diffusion {

// The graphs of all methods of a module. They share weights, which must be packed once and dropped
// by all.
using Graphs = std::vector<std::shared_ptr<torch::jit::Graph>>;

// Leaves all graphs unchanged if one of them depends on the memory layout.
void Optimize(const Graphs& graphs, c10::ScalarType dtype, const c10::Device& device);

// Bytes of the tensors that graphs hold as constants; each tensor counts once.
int64_t ConstantBytes(const Graphs& graphs);

// layouts.cc: lets views copy, so that later passes may choose the memory layout. Returns whether
// no graph depends on the layout any more.
bool FreeFromLayout(const Graphs& graphs);

// layouts.cc: makes the weights of convolutions channels_last. LibTorch then computes and returns
// channels_last, and the whole network follows.
void LayOutWeights(const Graphs& graphs, c10::ScalarType dtype);

// amx_products.cc: convolutions and linear layers in AMX tiles, if the CPU has AMX.
void UseAmx(const Graphs& graphs, c10::ScalarType dtype);

// winograd_convolutions.cc: 3 x 3 convolutions of stride 1 by minimal filtering, where the table
// says that it pays.
void UseWinograd(const Graphs& graphs, c10::ScalarType dtype);

// direct_convolutions.cc: convolutions of few pixels, with weights packed in the order of use.
void UseDirect(const Graphs& graphs, c10::ScalarType dtype);

// group_norms.cc: channels-last group norm, and the SiLU that follows it, as one operator.
void FuseGroupNorms(const Graphs& graphs, c10::ScalarType dtype);

// amx_norms.cc: group norm and SiLU, applied by the only convolution that reads them.
void FuseNorms(const Graphs& graphs, c10::ScalarType dtype);

// convolution_addends.cc: the addition to a convolution's result, done by the convolution.
void FuseAddends(const Graphs& graphs, c10::ScalarType dtype);

// nearest_codes.cc: the index of the least distance, without the matrix of distances.
void SearchNearestCodes(const Graphs& graphs, c10::ScalarType dtype);

// attention.cc: scaled dot-product attention without a mask, by blocks of keys.
void ReplaceAttention(const Graphs& graphs, c10::ScalarType dtype);

}  // namespace latent_diffusion
