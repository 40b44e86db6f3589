// The search for the nearest code over vectors of codes. Included by the files of simd/ only.
#pragma once

#include "kernels/simd/cpu_kernels.h"
#include "kernels/simd/vector.h"

namespace latent_diffusion {
namespace {

// Rows that are compared with each vector of codes together. A row needs three vectors: the current
// distance, the least distance and its index.
constexpr int kSearchRows = LATENT_DIFFUSION_VECTOR_REGISTERS / 4;

// The nearest of a vector's lanes, each of which kept its own first minimum; of equal ones the
// first wins.
inline void Reduce(Vector distances, Integers indices, int64_t first, float* distance,
                   int64_t* nearest) {
  int best = 0;
  for (int lane = 1; lane < kLanes; lane++) {
    const bool earlier = distances[lane] == distances[best] && indices[lane] < indices[best];
    if (distances[lane] < distances[best] || earlier) best = lane;
  }
  // Codes come in increasing order, so on equality the earlier one stays.
  if (!(distances[best] < *distance)) return;
  *distance = distances[best];
  *nearest = first + indices[best];
}

template <int kCount>
void SearchRows(const CodeSearch& work, int64_t row) {
  const float* const rows = work.rows + row * work.size;
  Vector nearest[kCount];
  Integers indices[kCount] = {};
  for (int r = 0; r < kCount; r++) nearest[r] = Broadcast(__builtin_inff());
  Integers index;
  for (int lane = 0; lane < kLanes; lane++) index[lane] = lane;
  const float* codes = work.panels;
  for (int64_t panel = 0; panel < work.panel_count; panel++) {
    Vector distances[kCount] = {};
    for (int64_t i = 0; i < work.size; i++) {
      const Vector code = Load(codes);
      codes += kLanes;
#pragma GCC unroll 8
      for (int r = 0; r < kCount; r++) {
        const Vector difference = rows[r * work.size + i] - code;
        distances[r] += difference * difference;
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kCount; r++) {
      const Integers closer = distances[r] < nearest[r];
      nearest[r] = closer ? distances[r] : nearest[r];
      indices[r] = closer ? index : indices[r];
    }
    index += kLanes;
  }
  for (int r = 0; r < kCount; r++) {
    Reduce(nearest[r], indices[r], work.first, work.distances + row + r, work.nearest + row + r);
  }
}

void SearchCodes(const CodeSearch& work) {
  int64_t row = 0;
  for (; row + kSearchRows <= work.row_count; row += kSearchRows)
    SearchRows<kSearchRows>(work, row);
  for (; row < work.row_count; row++) SearchRows<1>(work, row);
}

}  // namespace
}  // namespace latent_diffusion
