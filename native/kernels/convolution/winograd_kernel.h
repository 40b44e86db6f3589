// Winograd's minimal filtering F(m x m, 3 x 3) over vectors of channels (Lavin and Gray, "Fast
// Algorithms for Convolutional Neural Networks", 2015): Y = A' [ (G g G') * (B' d B) ] A. Here * is
// a matrix product over channels at each of the (m + 2)^2 points. Included by the files of simd/
// only.
#pragma once

#include "kernels/convolution/epilogue_kernel.h"
#include "kernels/simd/cpu_kernels.h"
#include "kernels/simd/vector.h"

namespace latent_diffusion {
namespace {

// B' of one column of a patch; `in` and `out` are `step` vectors apart.
template <int kTile>
inline void InputColumn(const Vector* in, Vector* out, int step);

template <>
inline void InputColumn<2>(const Vector* in, Vector* out, int step) {
  const Vector d0 = in[0], d1 = in[step], d2 = in[2 * step], d3 = in[3 * step];
  out[0] = d0 - d2;
  out[step] = d1 + d2;
  out[2 * step] = d2 - d1;
  out[3 * step] = d1 - d3;
}

// The points 0, 1, -1, 2, -2 and infinity.
template <>
inline void InputColumn<4>(const Vector* in, Vector* out, int step) {
  const Vector d0 = in[0], d1 = in[step], d2 = in[2 * step], d3 = in[3 * step], d4 = in[4 * step],
               d5 = in[5 * step];
  const Vector even1 = d4 - 4 * d2, odd1 = d3 - 4 * d1;
  const Vector even2 = d4 - d2, odd2 = 2 * (d3 - d1);
  out[0] = 4 * d0 - 5 * d2 + d4;
  out[step] = even1 + odd1;
  out[2 * step] = even1 - odd1;
  out[3 * step] = even2 + odd2;
  out[4 * step] = even2 - odd2;
  out[5 * step] = 4 * d1 - 5 * d3 + d5;
}

// A' of one column of points.
template <int kTile>
inline void OutputColumn(const Vector* in, int in_step, Vector* out, int out_step);

template <>
inline void OutputColumn<2>(const Vector* in, int in_step, Vector* out, int out_step) {
  const Vector m0 = in[0], m1 = in[in_step], m2 = in[2 * in_step], m3 = in[3 * in_step];
  out[0] = m0 + m1 + m2;
  out[out_step] = m1 - m2 - m3;
}

template <>
inline void OutputColumn<4>(const Vector* in, int in_step, Vector* out, int out_step) {
  const Vector sum1 = in[in_step] + in[2 * in_step], difference1 = in[in_step] - in[2 * in_step];
  const Vector sum2 = in[3 * in_step] + in[4 * in_step],
               difference2 = in[3 * in_step] - in[4 * in_step];
  out[0] = in[0] + sum1 + sum2;
  out[out_step] = difference1 + 2 * difference2;
  out[2 * out_step] = sum1 + 4 * sum2;
  out[3 * out_step] = difference1 + 8 * difference2 + in[5 * in_step];
}

template <int kTile, typename Element>
void TransformInputTile(const TransformInput& work) {
  constexpr int kPatch = kTile + 2;
  for (int64_t channel = 0; channel < work.channels; channel += kLanes) {
    Vector patch[kPatch * kPatch];
    Vector half[kPatch * kPatch];
#pragma GCC unroll 36
    for (int p = 0; p < kPatch * kPatch; p++) {
      patch[p] =
          LoadUpTo(static_cast<const Element*>(work.pixels[p]) + channel, work.channels - channel);
    }
#pragma GCC unroll 6
    for (int x = 0; x < kPatch; x++) InputColumn<kTile>(patch + x, half + x, kPatch);
#pragma GCC unroll 6
    for (int y = 0; y < kPatch; y++) InputColumn<kTile>(half + y * kPatch, patch + y * kPatch, 1);
#pragma GCC unroll 36
    for (int p = 0; p < kPatch * kPatch; p++)
      Store(work.out + p * work.out_stride + channel, patch[p]);
  }
}

template <int kTile, typename Element>
void TransformOutputTile(const TransformOutput& work) {
  constexpr int kPatch = kTile + 2;
  for (int64_t column = 0; column < work.columns; column += kLanes) {
    const int64_t count = work.columns - column;
    Vector points[kPatch * kPatch];
    Vector half[kTile * kPatch];
    Vector out[kTile * kTile];
#pragma GCC unroll 36
    for (int p = 0; p < kPatch * kPatch; p++)
      points[p] = Load(work.in + p * work.in_stride + column);
#pragma GCC unroll 6
    for (int x = 0; x < kPatch; x++) OutputColumn<kTile>(points + x, kPatch, half + x, kPatch);
#pragma GCC unroll 4
    for (int y = 0; y < kTile; y++) OutputColumn<kTile>(half + y * kPatch, 1, out + y * kTile, 1);
    const Vector bias = work.bias != nullptr ? LoadUpTo(work.bias + column, count) : Vector{};
    for (int p = 0; p < kTile * kTile; p++) {
      if (work.pixels[p] == nullptr) continue;
      const auto* const residual = work.residual != nullptr
                                       ? static_cast<const Element*>(work.residual[p]) + column
                                       : nullptr;
      StoreResult(out[p], bias, residual, static_cast<Element*>(work.pixels[p]) + column, count);
    }
  }
}

// Rows of the register block: two vectors per row, in all registers except a few.
constexpr int kRows = LATENT_DIFFUSION_VECTOR_REGISTERS >= 32 ? 12 : 6;
constexpr int kPanel = 2 * kLanes;
// Rows of weights to prefetch ahead: the hardware prefetcher stops at the end of each page.
constexpr int64_t kAhead = 48;
constexpr int64_t kLineFloats = 16;

template <int kCount>
void MultiplyRows(const float* a, int64_t lda, const float* b, int64_t depth, float* c,
                  int64_t ldc) {
  Vector left[kCount] = {};
  Vector right[kCount] = {};
  for (int64_t k = 0; k < depth; k++) {
    for (int64_t i = 0; i < kPanel; i += kLineFloats)
      __builtin_prefetch(b + (k + kAhead) * kPanel + i, 0, 2);
    const Vector b0 = Load(b + k * kPanel);
    const Vector b1 = Load(b + k * kPanel + kLanes);
#pragma GCC unroll 12
    for (int row = 0; row < kCount; row++) {
      const Vector value = Broadcast(a[row * lda + k]);
      left[row] += value * b0;
      right[row] += value * b1;
    }
  }
#pragma GCC unroll 12
  for (int row = 0; row < kCount; row++) {
    Store(c + row * ldc, left[row]);
    Store(c + row * ldc + kLanes, right[row]);
  }
}

using MultiplyFunction = void (*)(const float*, int64_t, const float*, int64_t, float*, int64_t);

// The function that multiplies this many rows.
template <int kCount>
MultiplyFunction MultiplyFor(int64_t rows) {
  if constexpr (kCount > 1) {
    if (rows < kCount) return MultiplyFor<kCount - 1>(rows);
  }
  return MultiplyRows<kCount>;
}

// In blocks of nearly equal height: a low block could not hide the latency of a multiplication.
void Multiply(const float* a, int64_t lda, const float* b, int64_t depth, float* c, int64_t ldc,
              int64_t rows) {
  int64_t blocks = (rows + kRows - 1) / kRows;
  while (rows > 0) {
    const int64_t count = (rows + blocks - 1) / blocks;
    blocks--;
    MultiplyFor<kRows>(count)(a, lda, b, depth, c, ldc);
    a += count * lda;
    c += count * ldc;
    rows -= count;
  }
}

}  // namespace
}  // namespace latent_diffusion
