// The end of every convolution as kernels: results are sums + bias + residual. Included by the
// files of simd/ only.
#pragma once

#include "kernels/simd/cpu_kernels.h"
#include "kernels/simd/vector.h"

namespace latent_diffusion {
namespace {

// Stores the first `count` lanes, or all if there are fewer; `residual` may be null.
template <typename Element>
inline void StoreResult(Vector sums, Vector bias, const Element* residual, Element* out,
                        int64_t count) {
  Vector value = sums + bias;
  if (residual != nullptr) value += LoadUpTo(residual, count);
  StoreUpTo(out, value, count);
}

template <typename Element>
void StorePixelsOf(const StorePixels& work) {
  const auto* residual = static_cast<const Element*>(work.residual);
  auto* out = static_cast<Element*>(work.out);
  for (int64_t column = 0; column < work.columns; column += kLanes) {
    const int64_t count = work.columns - column;
    const Vector bias = work.bias != nullptr ? LoadUpTo(work.bias + column, count) : Vector{};
    for (int64_t pixel = 0; pixel < work.pixels; pixel++) {
      const int64_t offset = pixel * work.pixel_stride + column;
      StoreResult(Load(work.sums + pixel * work.sums_stride + column), bias,
                  residual != nullptr ? residual + offset : nullptr, out + offset, count);
    }
  }
}

}  // namespace
}  // namespace latent_diffusion
