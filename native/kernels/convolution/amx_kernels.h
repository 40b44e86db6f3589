// The kernels for CPUs that multiply matrices of bfloat16 (Intel AMX). In float32 a value is the
// sum of two of bfloat16, high and low, and a product is three: high * high + high * low + low *
// high, which PyTorch calls "bfloat16x3": relative error about 2^-17, summed in float32. Thread:
// any; they touch nothing but what they are given.
#pragma once

#include <stdint.h>

#include "kernels/simd/cpu_kernels.h"

namespace latent_diffusion {

// What AMX works on: tiles of kTileRows rows of 64 bytes, which are kTileDepth values of bfloat16
// on the left, and kTileRows sums on the right.
constexpr int64_t kTileRows = 16;
constexpr int64_t kTileDepth = 32;
// Channels of one packed panel of weights, and rows of one block of results.
constexpr int64_t kAmxPanel = 32;
constexpr int64_t kAmxRows = 32;

// Pixels side by side, to planes: channels [32 b, 32 b + 32) of pixel p become the 32 values from
// high + b * block_stride + p * kTileDepth; low alike, for float32 only. Channels that are missing
// in the last block become 0.
struct SplitPixels {
  const void* in;  // pixels, `channels` apart
  int64_t pixels, channels;
  // A factor and a summand for each channel, then SiLU if it is wanted; null: the values as they
  // are.
  const float *scale, *shift;
  bool silu;
  uint16_t *high, *low;
  int64_t block_stride;
};

// kAmxRows rows (kTileRows, if `one_tile`) of sums for one panel. Row r of the left matrix lies,
// for a block of channels and a tap, from left + block * block_stride + taps[tap] + r * row_stride.
struct MultiplyTiles {
  const uint16_t* left;
  int64_t low;  // from a high value to its low one
  int64_t block_stride, row_stride;
  const int64_t* taps;
  int64_t tap_count, blocks;
  const uint16_t* right;  // packed as amx_pack.cc says
  float* sums;            // kAmxPanel apart
  // Whether sums are added to; whether there is only one tile of rows.
  bool accumulate, one_tile;
  // What will be needed next, brought nearer meanwhile: so many values for each block and tap.
  const uint16_t* next;
  int64_t next_step;
};

struct AmxKernels {
  void (*split_pixels[kElementTypes])(const SplitPixels&);
  // On this thread, before and after products: LibTorch's own kernels use tiles of other shapes.
  void (*begin_tiles)();
  void (*end_tiles)();
  void (*multiply[kElementTypes])(const MultiplyTiles&);
  void (*store_pixels[kElementTypes])(const StorePixels&);
  AttentionKernels attention[kElementTypes];
};

// Null where the CPU has no AMX, the system forbids it, or ATEN_CPU_CAPABILITY asks for less than
// AVX-512.
const AmxKernels* FindAmxKernels();

const AmxKernels* CompiledAmxKernels();

// Whether this CPU has AMX, and the system grants it: for our kernels and LibTorch's.
bool HasAmx();

}  // namespace latent_diffusion
