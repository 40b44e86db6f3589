// Attention's products over tiles of 16 x 32 bfloat16 (AMX). In float32 a tile of high parts is
// followed by a tile of low parts, and a product is three (see amx_kernels.h). Included by
// simd/amx.cc only.
#pragma once

#include <immintrin.h>

#include "kernels/attention/attention_kernel.h"
#include "kernels/convolution/amx_tiles_kernel.h"

namespace latent_diffusion {
namespace {

constexpr int64_t kTileWords = 256;  // of 32 bits, each a pair of bfloat16
constexpr int64_t kTilePairs = 16;   // in a row

template <typename Type>
struct AmxProducts {
  using Element = Type;
  static constexpr int64_t kParts = sizeof(Element) == 4 ? 2 : 1;
  // Words of a row of tiles for a step of 32 along the inner dimension.
  static constexpr int64_t kStepWords = kParts * kTileWords;

  // Weights keep 8 bits.
  static constexpr bool kRough = kParts == 1;
  static constexpr int64_t kKeyStep = 32;
  static constexpr int64_t kMostKeys = 128;
  static constexpr int64_t kChunkSteps = 8 / kParts;
  static constexpr int64_t kWeightWords = kMostKeys / kKeyStep * kStepWords;
  static constexpr int64_t kWeightFloats = 2 * kWeightWords;

  struct Session {
    Session() { BeginTiles(); }
    ~Session() { EndTiles(); }
  };

  static int64_t Steps(int64_t size) { return (size + kTileDepth - 1) / kTileDepth; }
  static int64_t QueryFloats(int64_t size) { return 2 * Steps(size) * kStepWords; }
  static int64_t KeyFloats(int64_t size, int64_t key_block) {
    return key_block / kTileRows * Steps(size) * kStepWords;
  }
  static int64_t ValueWords(int64_t key_block) { return key_block / kKeyStep * kStepWords; }
  static int64_t ValueFloats(int64_t size, int64_t key_block) {
    return 2 * Steps(size) * ValueWords(key_block);
  }
  static int64_t MixedFloats(int64_t size) { return Steps(size) * 32 * kQueries; }
  static int64_t ProductFloats(int64_t /*size*/) { return 0; }
  // For short heads the weights cost as much as the products, so few keys at a time let the core
  // overlap both. For long heads many keys at a time make loading and storing of sums cheap.
  static int64_t KeysAtOnce(int64_t size) { return size <= 96 ? kKeyStep : kMostKeys; }

  // [tile of queries][step][part][pair of elements][query]
  static void PackQueries(const Element* queries, int64_t stride, int64_t count, int64_t size,
                          float* packed) {
    alignas(64) float rows[kStepWords];
    for (int64_t tile = 0; tile < 2; tile++) {
      for (int64_t step = 0; step < Steps(size); step++) {
        PackRows(queries + tile * kTileRows * stride + step * 32, stride, count - tile * kTileRows,
                 size - step * 32, rows);
        TransposeTiles(rows, packed);
        packed += kStepWords;
      }
    }
  }

  // [tile of keys][step][part][key][element]
  static void PackKeys(const AttentionKeys& work, float* packed) {
    const auto* const keys = static_cast<const Element*>(work.keys);
    const int64_t padded = (work.count + kKeyStep - 1) / kKeyStep * kKeyStep;
    for (int64_t key = 0; key < padded; key += kTileRows) {
      for (int64_t step = 0; step < Steps(work.size); step++) {
        PackRows(keys + key * work.key_stride + step * 32, work.key_stride, work.count - key,
                 work.size - step * 32, packed);
        packed += kStepWords;
      }
    }
  }

  // [tile of elements][step of keys][part][element][key]
  static void PackValues(const AttentionKeys& work, float* packed) {
    alignas(64) float pairs[kStepWords];
    for (int64_t first = 0; first < Steps(work.size) * 32; first += kTileRows) {
      for (int64_t key = 0; key < work.count; key += kKeyStep) {
        for (int64_t pair = 0; pair < kTilePairs; pair++) {
          StorePairs(pairs + pair * kTilePairs, LoadValues(work, key + 2 * pair, first),
                     LoadValues(work, key + 2 * pair + 1, first));
        }
        TransposeTiles(pairs, packed + key / kKeyStep * kStepWords);
      }
      packed += ValueWords(work.key_block);
    }
  }

  // In chunks of the inner dimension, so that the queries stay in the first-level cache for all
  // keys.
  static void Scores(const float* queries, const float* keys, int64_t key, int64_t count,
                     int64_t size, float* scores) {
    const int64_t steps = Steps(size);
    const int64_t row = steps * kStepWords;
    for (int64_t step = 0; step < steps; step += kChunkSteps) {
      const int64_t some = steps - step < kChunkSteps ? steps - step : kChunkSteps;
      for (int64_t i = 0; i < count; i += 2 * kTileRows) {
        float* const to = scores + i * kQueries;
        if (step == 0) {
          ZeroSums();
        } else {
          LoadSums(to);
        }
        AddProducts(keys + (key + i) / kTileRows * row + step * kStepWords, row,
                    queries + step * kStepWords, row, some);
        StoreSums(to);
      }
    }
  }

  // [tile of queries][step of keys][part][pair of keys][query]
  static void StoreWeights(float* weights, int64_t pair, int64_t column, Vector even, Vector odd) {
    StorePairs(weights + column * kWeightWords + pair / kTilePairs * kStepWords +
                   pair % kTilePairs * kTilePairs,
               even, odd);
  }

  static void Mix(const AttentionQueries& work, const float* weights, const float* values,
                  int64_t key, int64_t count, const Vector* corrections, float* /*product*/,
                  float* mixed) {
    const int64_t row = ValueWords(work.key_block);
    values += key / kKeyStep * kStepWords;
    for (int64_t i = 0; i < Steps(work.size); i++) {
      for (int64_t j = 0; j < 2 * kTileRows * kQueries; j += kQueries) {
        Store(mixed + j, Load(mixed + j) * corrections[0]);
        Store(mixed + j + kLanes, Load(mixed + j + kLanes) * corrections[1]);
      }
      LoadSums(mixed);
      AddProducts(values, row, weights, kWeightWords, (count + kKeyStep - 1) / kKeyStep);
      StoreSums(mixed);
      mixed += 2 * kTileRows * kQueries;
      values += 2 * row;
    }
  }

 private:
  // Zeros outside `count` rows of `size` elements.
  static Vector LoadValues(const AttentionKeys& work, int64_t row, int64_t first) {
    return LoadRow(static_cast<const Element*>(work.values), work.value_stride, row, work.count,
                   first, work.size);
  }

  static Vector LoadRow(const Element* from, int64_t stride, int64_t row, int64_t count,
                        int64_t first, int64_t size) {
    return row < count && first < size ? LoadUpTo(from + row * stride + first, size - first)
                                       : Vector{};
  }

  // Sixteen rows of 32 elements, of which `count` rows and `size` elements exist.
  static void PackRows(const Element* from, int64_t stride, int64_t count, int64_t size,
                       float* tile) {
    for (int64_t row = 0; row < kTileRows; row++) {
      const Vector left = LoadRow(from, stride, row, count, 0, size);
      const Vector right = LoadRow(from, stride, row, count, kLanes, size);
      const Rounded high = Round(left, right);
      float* const to = tile + row * kTilePairs;
      __builtin_memcpy(to, &high, sizeof(high));
      if constexpr (kParts == 2) {
        const Rounded low = Round(left - Load(high.values), right - Load(high.values + kLanes));
        __builtin_memcpy(to + kTileWords, &low, sizeof(low));
      }
    }
  }

  // Words of two bfloat16: the first from `even`, the second from `odd`.
  static __m512i Interleave(Vector even, Vector odd) {
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(
        order, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(odd),
                                                             reinterpret_cast<__m512>(even))));
  }

  static void StorePairs(float* to, Vector even, Vector odd) {
    const __m512i high = Interleave(even, odd);
    _mm512_store_si512(to, high);
    if constexpr (kParts == 2) {
      const Bits words = reinterpret_cast<Bits>(high);
      _mm512_store_si512(to + kTileWords,
                         Interleave(even - reinterpret_cast<Vector>(words << 16),
                                    odd - reinterpret_cast<Vector>(words & 0xffff0000)));
    }
  }

  static void TransposeTiles(const float* from, float* to) {
    for (int64_t part = 0; part < kParts; part++) {
      Vector square[kTileRows];
      for (int row = 0; row < kTileRows; row++)
        square[row] = Load(from + part * kTileWords + row * kTilePairs);
      TransposeSquare(square);
      for (int row = 0; row < kTileRows; row++)
        Store(to + part * kTileWords + row * kTilePairs, square[row]);
    }
  }

  // Adds tiles 4 and 5 times tiles 6 and 7 to tiles 0 to 3.
  static void MultiplyLoaded() {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }

  static void LoadLeft(const float* tile, int64_t next) {
    _tile_loadd(4, tile, 64);
    _tile_loadd(5, tile + next, 64);
  }

  static void LoadRight(const float* tile, int64_t next) {
    _tile_loadd(6, tile, 64);
    _tile_loadd(7, tile + next, 64);
  }

  // Adds to tiles 0 to 3, [2 * 16][2 * 16], the product of two rows of tiles, a_row apart, and two
  // columns of tiles, b_row apart.
  static void AddProducts(const float* a, int64_t a_row, const float* b, int64_t b_row,
                          int64_t steps) {
    // GCC does not know that loading a tile reads memory.
    asm volatile("" ::: "memory");
    for (int64_t step = 0; step < steps; step++) {
      LoadLeft(a, a_row);
      if constexpr (kParts == 2) {
        LoadRight(b + kTileWords, b_row);
        MultiplyLoaded();
      }
      LoadRight(b, b_row);
      MultiplyLoaded();
      if constexpr (kParts == 2) {
        LoadLeft(a + kTileWords, a_row);
        MultiplyLoaded();
      }
      a += kStepWords;
      b += kStepWords;
    }
  }

  static void ZeroSums() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }

  // Copies between tiles 0 to 3 and [32][kQueries].
  static void LoadSums(const float* from) {
    asm volatile("" ::: "memory");
    _tile_loadd(0, from, kRowBytes);
    _tile_loadd(1, from + kLanes, kRowBytes);
    _tile_loadd(2, from + kTileRows * kQueries, kRowBytes);
    _tile_loadd(3, from + kTileRows * kQueries + kLanes, kRowBytes);
  }

  static void StoreSums(float* to) {
    _tile_stored(0, to, kRowBytes);
    _tile_stored(1, to + kLanes, kRowBytes);
    _tile_stored(2, to + kTileRows * kQueries, kRowBytes);
    _tile_stored(3, to + kTileRows * kQueries + kLanes, kRowBytes);
  }

  static constexpr int64_t kRowBytes = kQueries * sizeof(float);
};

}  // namespace
}  // namespace latent_diffusion
