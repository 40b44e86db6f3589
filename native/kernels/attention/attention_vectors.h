// Attention's products over vectors, in float32. Included by the files of simd/ only.
#pragma once

#include "kernels/attention/attention_kernel.h"
#include "kernels/convolution/winograd_kernel.h"

namespace latent_diffusion {
namespace {

template <typename Type>
struct VectorProducts {
  using Element = Type;
  struct Session {};

  // Weights keep full float32 precision.
  static constexpr bool kRough = false;
  static constexpr int64_t kKeyStep = 2;
  static constexpr int64_t kMostKeys = 128;
  static constexpr int64_t kWeightFloats = kMostKeys * kQueries;

  static int64_t KeysAtOnce(int64_t /*size*/) { return kMostKeys; }
  // If rows were a power of two apart, they would share few sets of the first-level cache.
  static int64_t ValueStride(int64_t key_block) { return (key_block + 31) / 16 * 16; }
  static int64_t QueryFloats(int64_t size) { return size * kQueries; }
  static int64_t KeyFloats(int64_t size, int64_t key_block) { return size * key_block; }
  static int64_t ValueFloats(int64_t size, int64_t key_block) {
    return size * ValueStride(key_block);
  }
  static int64_t MixedFloats(int64_t size) { return size * kQueries; }
  static int64_t ProductFloats(int64_t size) { return size * kQueries; }

  // [size][kQueries]
  static void PackQueries(const Element* queries, int64_t stride, int64_t count, int64_t size,
                          float* packed) {
    if (count < kQueries) {
      for (int64_t i = 0; i < size * kQueries; i++) packed[i] = 0;
    }
    Transpose(queries, stride, count, size, packed, kQueries);
  }

  // [count][size]
  static void PackKeys(const AttentionKeys& work, float* packed) {
    const auto* const keys = static_cast<const Element*>(work.keys);
    for (int64_t key = 0; key < work.count; key++) {
      for (int64_t i = 0; i < work.size; i += kLanes) {
        StoreUpTo(packed + key * work.size + i,
                  LoadUpTo(keys + key * work.key_stride + i, work.size - i), work.size - i);
      }
    }
  }

  // [size][ValueStride]
  static void PackValues(const AttentionKeys& work, float* packed) {
    Transpose(static_cast<const Element*>(work.values), work.value_stride, work.count, work.size,
              packed, ValueStride(work.key_block));
  }

  static void Scores(const float* queries, const float* keys, int64_t key, int64_t count,
                     int64_t size, float* scores) {
    Multiply(keys + key * size, size, queries, size, scores, kQueries, count);
  }

  static void StoreWeights(float* weights, int64_t pair, int64_t column, Vector even, Vector odd) {
    float* const to = weights + 2 * pair * kQueries + column * kLanes;
    Store(to, even);
    Store(to + kQueries, odd);
  }

  static void Mix(const AttentionQueries& work, const float* weights, const float* values,
                  int64_t key, int64_t count, const Vector* corrections, float* product,
                  float* mixed) {
    Multiply(values + key, ValueStride(work.key_block), weights, count, product, kQueries,
             work.size);
    for (int64_t i = 0; i < work.size * kQueries; i += kQueries) {
      for (int64_t c = 0; c < 2; c++) {
        const int64_t at = i + c * kLanes;
        Store(mixed + at, Load(mixed + at) * corrections[c] + Load(product + at));
      }
    }
  }
};

}  // namespace
}  // namespace latent_diffusion
