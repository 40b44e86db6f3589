// Direct convolution for pictures of few pixels. Each weight is read from memory once, in the order
// of use. Included by the files of simd/ only.
#pragma once

#include "kernels/convolution/winograd_kernel.h"
#include "kernels/simd/cpu_kernels.h"
#include "kernels/simd/vector.h"

namespace latent_diffusion {
namespace {

// kCount consecutive pixels. Prefetches the next weights, a cache line per channel, so that memory
// access and products overlap.
template <int kCount, typename Weight>
void AddTapsFor(const AddTaps& work, const float* pixels, float* sums, const char* next) {
  Vector left[kCount] = {};
  Vector right[kCount] = {};
  if (work.accumulate) {
#pragma GCC unroll 12
    for (int row = 0; row < kCount; row++) {
      left[row] = Load(sums + row * kPanel);
      right[row] = Load(sums + row * kPanel + kLanes);
    }
  }
  const auto* weights = static_cast<const Weight*>(work.weights);
  const int64_t stride = work.pixel_stride;
  for (int64_t tap = 0; tap < work.tap_count; tap++) {
    const float* const a = pixels + work.taps[tap];
    for (int64_t k = 0; k < work.depth; k++, weights += kPanel) {
      if (k < work.next_lines) {
        __builtin_prefetch(next, 0, 2);
        next += kLineBytes;
      }
      const Vector b0 = Load(weights);
      const Vector b1 = Load(weights + kLanes);
#pragma GCC unroll 12
      for (int row = 0; row < kCount; row++) {
        const Vector value = Broadcast(a[row * stride + k]);
        left[row] += value * b0;
        right[row] += value * b1;
      }
    }
  }
#pragma GCC unroll 12
  for (int row = 0; row < kCount; row++) {
    Store(sums + row * kPanel, left[row]);
    Store(sums + row * kPanel + kLanes, right[row]);
  }
}

using AddTapsFunction = void (*)(const AddTaps&, const float*, float*, const char*);

template <int kCount, typename Weight>
AddTapsFunction AddTapsOf(int64_t pixels) {
  if constexpr (kCount > 1) {
    if (pixels < kCount) return AddTapsOf<kCount - 1, Weight>(pixels);
  }
  return AddTapsFor<kCount, Weight>;
}

// In blocks of nearly equal width.
template <typename Weight>
void AddTapsOfRow(const AddTaps& work) {
  const float* pixels = work.pixels;
  float* sums = work.sums;
  const auto* next = static_cast<const char*>(work.next);
  int64_t rest = work.pixel_count;
  for (int64_t blocks = (rest + kRows - 1) / kRows; rest > 0; blocks--) {
    const int64_t count = (rest + blocks - 1) / blocks;
    AddTapsOf<kRows, Weight>(count)(work, pixels, sums, next);
    next += work.tap_count * work.next_lines * kLineBytes;
    pixels += count * work.pixel_stride;
    sums += count * kPanel;
    rest -= count;
  }
}

template <typename Element>
void WidenValues(const void* in, float* out, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vector value = LoadUpTo(static_cast<const Element*>(in) + i, count - i);
    StoreUpTo(out + i, value, count - i);
  }
}

}  // namespace
}  // namespace latent_diffusion
