// Attention without the matrix of weights (Milakov and Gimelshein, "Online normalizer calculation
// for softmax", 2018; Dao et al., "FlashAttention", 2022), over vectors of queries. Keys come in
// blocks. Per query, only three things are kept: the largest product so far, the sum of the weights
// relative to it, and the weighted sum of the values. `Products` says how matrices are packed and
// multiplied. Included by the files of simd/ only.
#pragma once

#include "kernels/attention/attention_kernels.h"
#include "kernels/simd/exp.h"
#include "kernels/simd/transpose.h"
#include "kernels/simd/vector.h"

namespace latent_diffusion {
namespace {

// Consecutive queries: two vectors.
constexpr int kQueries = 2 * kLanes;

inline Vector Greater(Vector a, Vector b) { return a > b ? a : b; }

// What is kept for kQueries queries between blocks of keys.
struct QueryPanel {
  float* queries;  // packed
  float* mixed;    // [size][kQueries]: weighted sum so far
  float* maxima;
  float* sums;
};

template <typename Products>
struct Flash {
  using Element = Products::Element;

  static int64_t PackedFloats(int64_t size, int64_t key_block) {
    return Products::KeyFloats(size, key_block) + Products::ValueFloats(size, key_block);
  }

  static int64_t PanelFloats(int64_t size) {
    return 2 * kQueries + Products::MixedFloats(size) + Products::QueryFloats(size);
  }

  static int64_t SharedFloats(int64_t size) {
    return 2 * Products::kMostKeys * kQueries + Products::kWeightFloats +
           Products::ProductFloats(size);
  }

  static int64_t ScratchFloats(int64_t size, int64_t query_count) {
    return SharedFloats(size) + (query_count + kQueries - 1) / kQueries * PanelFloats(size);
  }

  static void Pack(const AttentionKeys& work) {
    Products::PackKeys(work, work.packed);
    Products::PackValues(work, work.packed + Products::KeyFloats(work.size, work.key_block));
  }

  static void Attend(const AttentionQueries& work) {
    [[maybe_unused]] const typename Products::Session session;
    for (int64_t first = 0; first < work.query_count; first += kQueries) Start(work, first);
    const float* packed = work.packed;
    for (int64_t key = 0; key < work.key_count; key += work.key_block) {
      const int64_t left = work.key_count - key;
      const int64_t count = left < work.key_block ? left : work.key_block;
      for (int64_t first = 0; first < work.query_count; first += kQueries)
        AddBlock(work, PanelOf(work, first), packed, count);
      packed += PackedFloats(work.size, work.key_block);
    }
    for (int64_t first = 0; first < work.query_count; first += kQueries) Finish(work, first);
  }

 private:
  static QueryPanel PanelOf(const AttentionQueries& work, int64_t first) {
    float* const at =
        work.scratch + SharedFloats(work.size) + first / kQueries * PanelFloats(work.size);
    float* const mixed = at + 2 * kQueries;
    return {mixed + Products::MixedFloats(work.size), mixed, at, at + kQueries};
  }

  static void Start(const AttentionQueries& work, int64_t first) {
    const QueryPanel panel = PanelOf(work, first);
    const int64_t left = work.query_count - first;
    Products::PackQueries(static_cast<const Element*>(work.queries) + first * work.query_stride,
                          work.query_stride, left < kQueries ? left : kQueries, work.size,
                          panel.queries);
    for (int64_t i = 0; i < Products::MixedFloats(work.size); i++) panel.mixed[i] = 0;
    for (int64_t i = 0; i < kQueries; i++) {
      panel.maxima[i] = -__builtin_inff();
      panel.sums[i] = 0;
    }
  }

  // Starts the scores of the next keys before it computes the weights of these, so that tiles and
  // vectors work at the same time.
  static void AddBlock(const AttentionQueries& work, const QueryPanel& panel, const float* keys,
                       int64_t count) {
    float* scores = work.scratch;
    float* next_scores = scores + Products::kMostKeys * kQueries;
    float* const weights = next_scores + Products::kMostKeys * kQueries;
    float* const product = weights + Products::kWeightFloats;
    const float* const values = keys + Products::KeyFloats(work.size, work.key_block);
    const int64_t step = Products::KeysAtOnce(work.size);
    const auto score = [&](int64_t key, float* to) {
      const int64_t some = count - key < step ? count - key : step;
      if (some > 0) Products::Scores(panel.queries, keys, key, some, work.size, to);
      return some;
    };
    int64_t some = score(0, scores);
    for (int64_t key = 0; key < count; key += step) {
      const int64_t next = score(key + step, next_scores);
      Vector corrections[2];
      Weigh(scores, some, work.scale, panel, weights, corrections);
      Products::Mix(work, weights, values, key, some, corrections, product, panel.mixed);
      float* const weighed = scores;
      scores = next_scores;
      next_scores = weighed;
      some = next;
    }
  }

  // The maximum per query, in two columns.
  static void FindMost(const float* scores, int64_t count, Vector* most) {
    // Two independent rows at a time hide the latency.
    const int64_t second = count > 1 ? kQueries : 0;
    Vector even[2] = {Load(scores), Load(scores + kLanes)};
    Vector odd[2] = {Load(scores + second), Load(scores + second + kLanes)};
    for (int64_t key = count & 1; key < count; key += 2) {
#pragma GCC unroll 2
      for (int64_t c = 0; c < 2; c++) {
        const float* const at = scores + key * kQueries + c * kLanes;
        even[c] = Greater(Load(at), even[c]);
        odd[c] = Greater(Load(at + kQueries), odd[c]);
      }
    }
    for (int64_t c = 0; c < 2; c++) most[c] = Greater(even[c], odd[c]);
  }

  // Turns scores into weights relative to the maximum so far; earlier sums must be multiplied by
  // the corrections.
  static void Weigh(const float* scores, int64_t count, float scale, const QueryPanel& panel,
                    float* weights, Vector* corrections) {
    Vector most[2];
    FindMost(scores, count, most);
    Vector sums[2];
    for (int64_t c = 0; c < 2; c++) {
      const Vector before = Load(panel.maxima + c * kLanes);
      most[c] = Greater(most[c] * scale, before);
      Store(panel.maxima + c * kLanes, most[c]);
      corrections[c] = Exp2<false>(before - most[c]);
      sums[c] = Load(panel.sums + c * kLanes) * corrections[c];
    }
    const auto weigh = [&](int64_t key, int64_t c) {
      return Exp2<Products::kRough>(Load(scores + key * kQueries + c * kLanes) * scale - most[c]);
    };
    int64_t key = 0;
    for (; key + 2 <= count; key += 2) {
#pragma GCC unroll 2
      for (int64_t c = 0; c < 2; c++) {
        const Vector even = weigh(key, c), odd = weigh(key + 1, c);
        sums[c] += even + odd;
        Products::StoreWeights(weights, key / 2, c, even, odd);
      }
    }
    for (; key < (count + Products::kKeyStep - 1) / Products::kKeyStep * Products::kKeyStep;
         key += 2) {
      for (int64_t c = 0; c < 2; c++) {
        const Vector even = key < count ? weigh(key, c) : Vector{};
        sums[c] += even;
        Products::StoreWeights(weights, key / 2, c, even, Vector{});
      }
    }
    for (int64_t c = 0; c < 2; c++) Store(panel.sums + c * kLanes, sums[c]);
  }

  static void Finish(const AttentionQueries& work, int64_t first) {
    const QueryPanel panel = PanelOf(work, first);
    const int64_t left = work.query_count - first;
    const int64_t count = left < kQueries ? left : kQueries;
    auto* const out = static_cast<Element*>(work.out) + first * work.out_stride;
    for (int64_t query = 0; query < count; query += kLanes) {
      const Vector inverse = 1 / Load(panel.sums + query);
      for (int64_t i = 0; i < work.size; i += kLanes) {
        Vector square[kLanes];
        for (int row = 0; row < kLanes; row++) {
          square[row] = i + row < work.size
                            ? Load(panel.mixed + (i + row) * kQueries + query) * inverse
                            : Vector{};
        }
        TransposeSquare(square);
        for (int row = 0; row < kLanes && query + row < count; row++)
          StoreUpTo(out + (query + row) * work.out_stride + i, square[row], work.size - i);
      }
    }
  }
};

template <typename Products>
constexpr AttentionKernels kAttentionKernels = {
    kQueries,
    Products::kKeyStep,
    Flash<Products>::PackedFloats,
    Flash<Products>::ScratchFloats,
    Flash<Products>::Pack,
    Flash<Products>::Attend,
};

}  // namespace
}  // namespace latent_diffusion
