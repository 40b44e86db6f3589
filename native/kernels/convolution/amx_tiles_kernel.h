// Matrix products in AMX tiles. Included by simd/amx.cc only.
#pragma once

#include <immintrin.h>

#include "kernels/convolution/amx_kernels.h"
#include "kernels/simd/silu_kernel.h"
#include "kernels/simd/vector.h"

namespace latent_diffusion {
namespace {

struct TileConfiguration {
  uint8_t palette, start_row;
  uint8_t reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(TileConfiguration) == 64, "What LDTILECFG reads");

// All eight tiles have full size: four for sums, two left, two right. It is a constant, because GCC
// 12 thinks that the instruction reads only 8 bytes, and drops stores that come just before it.
alignas(64) constexpr TileConfiguration kTiles = {
    1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
static_assert(kTileDepth * sizeof(uint16_t) == 64 && kTileRows == 16, "As kTiles says");

void BeginTiles() { _tile_loadconfig(&kTiles); }

void EndTiles() { _tile_release(); }

// 32 bfloat16 values.
struct Rounded {
  BFloat16 values[2 * kLanes];
};

inline Rounded Round(Vector first, Vector second) {
  const auto both =
      _mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(second), reinterpret_cast<__m512>(first));
  Rounded rounded;
  static_assert(sizeof(rounded) == sizeof(both), "One register");
  __builtin_memcpy(&rounded, &both, sizeof(rounded));
  return rounded;
}

struct Affine {
  const float *scale, *shift;
  bool silu;
};

template <typename Element>
inline Vector LoadChannels(const Element* in, int64_t channel, int64_t channels,
                           const Affine& map) {
  const int64_t count = channels - channel;
  if (count <= 0) return Vector{};
  Vector value = LoadUpTo(in + channel, count);
  if (map.scale == nullptr) return value;
  value = value * LoadUpTo(map.scale + channel, count) + LoadUpTo(map.shift + channel, count);
  return map.silu ? Silu(value) : value;
}

template <typename Element>
void SplitPixelsOf(const SplitPixels& work) {
  constexpr bool kSplit = sizeof(Element) == sizeof(float);
  const Affine map{work.scale, work.shift, work.silu};
  const auto* in = static_cast<const Element*>(work.in);
  for (int64_t pixel = 0; pixel < work.pixels; pixel++, in += work.channels) {
    int64_t to = pixel * kTileDepth;
    for (int64_t channel = 0; channel < work.channels; channel += kTileDepth) {
      const Vector first = LoadChannels(in, channel, work.channels, map);
      const Vector second = LoadChannels(in, channel + kLanes, work.channels, map);
      const Rounded high = Round(first, second);
      __builtin_memcpy(work.high + to, &high, sizeof(high));
      if constexpr (kSplit) {
        const Rounded low = Round(first - Load(high.values), second - Load(high.values + kLanes));
        __builtin_memcpy(work.low + to, &low, sizeof(low));
      }
      to += work.block_stride;
    }
  }
}

constexpr int64_t kTileValues = kTileRows * kTileDepth;

// Sums are tiles 0 to 3, two rows by two columns of tiles. Tiles 4 and 5 are left, 6 and 7 right.
// Each tile is loaded directly before its first product, so that loads and products overlap.
template <int kRowTiles>
inline void MultiplyAll(const uint16_t* left, int64_t row_stride, const uint16_t* right) {
  const auto bytes = row_stride * static_cast<int64_t>(sizeof(uint16_t));
  _tile_loadd(6, right, kTileDepth * sizeof(uint16_t));
  _tile_loadd(4, left, bytes);
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (kRowTiles == 2) {
    _tile_loadd(5, left + kTileRows * row_stride, bytes);
    _tile_dpbf16ps(2, 5, 6);
  }
  _tile_loadd(7, right + kTileValues, kTileDepth * sizeof(uint16_t));
  _tile_dpbf16ps(1, 4, 7);
  if constexpr (kRowTiles == 2) _tile_dpbf16ps(3, 5, 7);
}

// New tiles on the right, the same on the left.
template <int kRowTiles>
inline void MultiplyByRight(const uint16_t* right) {
  _tile_loadd(6, right, kTileDepth * sizeof(uint16_t));
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (kRowTiles == 2) _tile_dpbf16ps(2, 5, 6);
  _tile_loadd(7, right + kTileValues, kTileDepth * sizeof(uint16_t));
  _tile_dpbf16ps(1, 4, 7);
  if constexpr (kRowTiles == 2) _tile_dpbf16ps(3, 5, 7);
}

// New tiles on the left, the same on the right.
template <int kRowTiles>
inline void MultiplyLeft(const uint16_t* left, int64_t row_stride) {
  const auto bytes = row_stride * static_cast<int64_t>(sizeof(uint16_t));
  _tile_loadd(4, left, bytes);
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  if constexpr (kRowTiles == 2) {
    _tile_loadd(5, left + kTileRows * row_stride, bytes);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}

// After about 150 tile products without a store, the next store takes a quarter of a microsecond
// longer (Sapphire Rapids). So a tile is stored to scratch memory now and then, which costs
// nothing.
class StoreAside {
 public:
  void Count(int64_t products) {
    products_ += products;
    if (products_ < kMost) return;
    products_ = 0;
    _tile_stored(0, aside_, kTileDepth * sizeof(uint16_t));
  }

 private:
  static constexpr int64_t kMost = 64;
  int64_t products_ = 0;
  alignas(64) uint16_t aside_[kTileValues];
};

// Into the second-level cache. The hardware prefetcher stops at the end of each page.
inline void Prefetch(const uint16_t* values, int64_t count) {
  for (int64_t i = 0; i < count; i += kTileDepth) __builtin_prefetch(values + i, 0, 2);
}

template <bool kSplit, int kRowTiles>
void MultiplyRowTiles(const MultiplyTiles& work) {
  constexpr int64_t kSumBytes = kAmxPanel * sizeof(float);
  float* const lower = work.sums + kTileRows * kAmxPanel;
  if (work.accumulate) {
    _tile_loadd(0, work.sums, kSumBytes);
    _tile_loadd(1, work.sums + kTileRows, kSumBytes);
    if constexpr (kRowTiles == 2) {
      _tile_loadd(2, lower, kSumBytes);
      _tile_loadd(3, lower + kTileRows, kSumBytes);
    }
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  StoreAside aside;
  const uint16_t* right = work.right;
  const uint16_t* next = work.next;
  for (int64_t block = 0; block < work.blocks; block++) {
    for (int64_t tap = 0; tap < work.tap_count; tap++) {
      const uint16_t* const left = work.left + block * work.block_stride + work.taps[tap];
      Prefetch(next, work.next_step);
      next += work.next_step;
      MultiplyAll<kRowTiles>(left, work.row_stride, right);
      right += 2 * kTileValues;
      if constexpr (kSplit) {
        // The low weights come first, so that each tile is loaded once.
        MultiplyByRight<kRowTiles>(right);
        right += 2 * kTileValues;
        MultiplyLeft<kRowTiles>(left + work.low, work.row_stride);
      }
      aside.Count(2 * kRowTiles * (kSplit ? 3 : 1));
    }
  }
  _tile_stored(0, work.sums, kSumBytes);
  _tile_stored(1, work.sums + kTileRows, kSumBytes);
  if constexpr (kRowTiles == 2) {
    _tile_stored(2, lower, kSumBytes);
    _tile_stored(3, lower + kTileRows, kSumBytes);
  }
}

template <bool kSplit>
void MultiplyTilesOf(const MultiplyTiles& work) {
  if (work.one_tile) {
    MultiplyRowTiles<kSplit, 1>(work);
  } else {
    MultiplyRowTiles<kSplit, 2>(work);
  }
}

}  // namespace
}  // namespace latent_diffusion
