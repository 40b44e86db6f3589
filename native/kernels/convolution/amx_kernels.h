// The kernels for CPUs with matrix units for bfloat16 (Intel AMX). In float32 a value is the sum of
// two bfloat16 values, high and low, and a product is three products: high * high + high * low +
// low * high. PyTorch calls this "bfloat16x3". Its relative error is about 2^-17; sums are float32.
// Thread: any; the kernels access only what they are given.
#pragma once

#include <stdint.h>

#include "kernels/simd/cpu_kernels.h"

namespace latent_diffusion {

// AMX works on tiles of kTileRows rows of 64 bytes: kTileDepth bfloat16 values on the left, or
// kTileRows sums on the right.
constexpr int64_t kTileRows = 16;
constexpr int64_t kTileDepth = 32;
// Channels of one packed panel of weights, and rows of one block of results.
constexpr int64_t kAmxPanel = 32;
constexpr int64_t kAmxRows = 32;

// Splits consecutive pixels into planes. Channels [32 b, 32 b + 32) of pixel p become the 32 values
// at high + b * block_stride + p * kTileDepth. `low` has the same layout and is used for float32
// only. Missing channels of the last block become 0.
struct SplitPixels {
  const void* in;  // pixels, `channels` elements apart
  int64_t pixels, channels;
  // A factor and a summand per channel, then SiLU if `silu`. Null: the values are used as they are.
  const float *scale, *shift;
  bool silu;
  uint16_t *high, *low;
  int64_t block_stride;
};

// Computes kAmxRows rows (kTileRows if `one_tile`) of sums for one panel. For a block of channels
// and a tap, row r of the left matrix starts at left + block * block_stride + taps[tap] + r *
// row_stride.
struct MultiplyTiles {
  const uint16_t* left;
  int64_t low;  // offset from a high value to its low one
  int64_t block_stride, row_stride;
  const int64_t* taps;
  int64_t tap_count, blocks;
  const uint16_t* right;  // packed as in amx_pack.cc
  float* sums;            // rows are kAmxPanel apart
  // Whether to add to the sums, and whether there is only one tile of rows.
  bool accumulate, one_tile;
  // What to prefetch: this many values per block and tap.
  const uint16_t* next;
  int64_t next_step;
};

struct AmxKernels {
  void (*split_pixels[kElementTypes])(const SplitPixels&);
  // Called on this thread before and after products, because LibTorch's own kernels use tiles of
  // other shapes.
  void (*begin_tiles)();
  void (*end_tiles)();
  void (*multiply[kElementTypes])(const MultiplyTiles&);
  void (*store_pixels[kElementTypes])(const StorePixels&);
  AttentionKernels attention[kElementTypes];
};

// Null if the CPU has no AMX, the system forbids it, or ATEN_CPU_CAPABILITY asks for less than
// AVX-512.
const AmxKernels* FindAmxKernels();

const AmxKernels* CompiledAmxKernels();

// Whether this CPU has AMX and the system allows it. It holds for our kernels and for LibTorch's.
bool HasAmx();

}  // namespace latent_diffusion
