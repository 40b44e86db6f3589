// Group norm and SiLU over vectors of channels. Included by the files of simd/ only.
#pragma once

#include "kernels/simd/cpu_kernels.h"
#include "kernels/simd/silu_kernel.h"
#include "kernels/simd/vector.h"

namespace latent_diffusion {
namespace {

// Sums, per channel over the pixels, of differences from the first pixel and of their squares. Sums
// of the values themselves would lose a variance that is small compared with the mean.
template <typename Element>
void Moments(const void* in, int64_t pixels, int64_t channels, float* pivots, float* sums,
             float* squares) {
  const auto* const x = static_cast<const Element*>(in);
  for (int64_t channel = 0; channel < channels; channel += kLanes) {
    const int64_t count = channels - channel;
    const Vector pivot = LoadUpTo(x + channel, count);
    Vector sum{}, square{};
    for (int64_t pixel = 1; pixel < pixels; pixel++) {
      const Vector value = LoadUpTo(x + pixel * channels + channel, count) - pivot;
      sum += value;
      square += value * value;
    }
    StoreUpTo(pivots + channel, pivot, count);
    StoreUpTo(sums + channel, sum, count);
    StoreUpTo(squares + channel, square, count);
  }
}

template <typename Element, bool kSilu>
void ScalePixels(const ScaleAndShift& work) {
  const auto* x = static_cast<const Element*>(work.in);
  auto* y = static_cast<Element*>(work.out);
  for (int64_t pixel = 0; pixel < work.pixels; pixel++) {
    for (int64_t channel = 0; channel < work.channels; channel += kLanes) {
      const int64_t count = work.channels - channel;
      const Vector scale = LoadUpTo(work.scale + channel, count);
      const Vector value =
          LoadUpTo(x + channel, count) * scale + LoadUpTo(work.shift + channel, count);
      StoreUpTo(y + channel, kSilu ? Silu(value) : value, count);
    }
    x += work.channels;
    y += work.channels;
  }
}

}  // namespace
}  // namespace latent_diffusion
