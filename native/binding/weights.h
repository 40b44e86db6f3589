// The values of parameters as JavaScript names them: tensor handles, or places in open checkpoints.
// Thread: JavaScript.
#pragma once

#include <napi.h>

#include <vector>

#include "binding/handle.h"
#include "checkpoint/weight.h"

namespace latent_diffusion {

template <>
struct HandleName<RandomAccessFile> {
  static constexpr const char* value = "checkpoint";
};

// An array of tensor handles and [file, dtype, shape, offset, strides?] tuples.
std::vector<Weight> ToWeights(const Napi::Value& value);

}  // namespace latent_diffusion
