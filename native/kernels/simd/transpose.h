// Transposes blocks of vectors. Included by the files of simd/ only.
#pragma once

#include "kernels/simd/vector.h"

namespace latent_diffusion {
namespace {

#ifdef __clang__
#define LATENT_DIFFUSION_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define LATENT_DIFFUSION_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Integers{__VA_ARGS__})
#endif

// a0 b0 a1 b1 ... from the lower halves, and from the upper halves.
inline void Interleave(Vector a, Vector b, Vector* lower, Vector* upper) {
#if LATENT_DIFFUSION_VECTOR_BYTES == 64
  *lower = LATENT_DIFFUSION_SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  *upper =
      LATENT_DIFFUSION_SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif LATENT_DIFFUSION_VECTOR_BYTES == 32
  *lower = LATENT_DIFFUSION_SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  *upper = LATENT_DIFFUSION_SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
  *lower = LATENT_DIFFUSION_SHUFFLE(a, b, 0, 4, 1, 5);
  *upper = LATENT_DIFFUSION_SHUFFLE(a, b, 2, 6, 3, 7);
#endif
}

#undef LATENT_DIFFUSION_SHUFFLE

// Transposes a square of kLanes rows. Each interleaving rotates the bits of (row, column) by one;
// after log2(kLanes) of them rows and columns have changed places.
inline void TransposeSquare(Vector* rows) {
  Vector turned[kLanes];
#pragma GCC unroll 4
  for (int round = 1; round < kLanes; round *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < kLanes / 2; i++)
      Interleave(rows[i], rows[i + kLanes / 2], turned + 2 * i, turned + 2 * i + 1);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; i++) rows[i] = turned[i];
  }
}

// to[column * to_stride + row] = from[row * from_stride + column]. Missing rows of the last square
// are written as zeros: `to` must have room for a multiple of kLanes of them.
template <typename Element>
void Transpose(const Element* from, int64_t from_stride, int64_t rows, int64_t columns, float* to,
               int64_t to_stride) {
  for (int64_t row = 0; row < rows; row += kLanes) {
    for (int64_t column = 0; column < columns; column += kLanes) {
      Vector square[kLanes];
      for (int i = 0; i < kLanes; i++) {
        square[i] = row + i < rows
                        ? LoadUpTo(from + (row + i) * from_stride + column, columns - column)
                        : Vector{};
      }
      TransposeSquare(square);
      for (int i = 0; i < kLanes && column + i < columns; i++)
        Store(to + (column + i) * to_stride + row, square[i]);
    }
  }
}

}  // namespace
}  // namespace latent_diffusion
