// The kernels that are compiled once per instruction set, and the choice for this process. Thread:
// any; they access only what they are given.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/attention/attention_kernels.h"

namespace latent_diffusion {

// Elements are float or bfloat16, by the index into the table; arithmetic is float32.
enum ElementType { kFloat32 = 0, kBFloat16 = 1, kElementTypes = 2 };

// Winograd's tiles: F(2x2, 3x3) and F(4x4, 3x3).
enum WinogradTile { kTile2 = 0, kTile4 = 1, kWinogradTiles = 2 };

// The points of one tile come from patch x patch input pixels. Pixels outside the picture point to
// zeros.
struct TransformInput {
  const void* const* pixels;  // patch * patch pointers to `channels` elements each
  int64_t channels;
  float* out;  // the channels of point p start at out + p * out_stride
  int64_t out_stride;
};

// The outputs of one tile are tile x tile pixels. `columns` are contiguous; a pixel outside the
// picture is null.
struct TransformOutput {
  const float* in;  // the columns of point p start at in + p * in_stride
  int64_t in_stride;
  int64_t columns;
  const float* bias;            // `columns`, or null
  const void* const* residual;  // tile * tile pointers to the addend, or null
  void* const* pixels;          // tile * tile pointers
};

// Consecutive pixels and one panel of weights: sums [pixel][panel] of all taps and `depth`
// channels.
struct AddTaps {
  const float* pixels;  // pixel_stride apart
  int64_t pixel_count, pixel_stride;
  const int64_t* taps;  // offset from a pixel to the one that a tap reads, in floats
  int64_t tap_count, depth;
  const void* weights;  // [tap][depth][panel]
  float* sums;
  bool accumulate;
  // What to prefetch: this many cache lines per tap of a block of pixels.
  const void* next;
  int64_t next_lines;
};

// Stores the sums of consecutive pixels: out = sums + bias + residual.
struct StorePixels {
  const float* sums;  // sums_stride apart, whole vectors of columns
  int64_t sums_stride;
  int64_t pixels, columns;
  int64_t pixel_stride;  // of residual and out, in elements
  const float* bias;     // `columns`, or null
  const void* residual;  // or null
  void* out;
};

// `pixels` times `channels` elements: out = in * scale + shift, per channel.
struct ScaleAndShift {
  const void* in;
  void* out;
  int64_t pixels, channels;
  const float *scale, *shift;
};

// `row_count` rows of `size` floats, and codes packed as [panel][size][lanes]. Per row, the least
// squared distance so far and its code, which nearer codes replace.
struct CodeSearch {
  const float* rows;
  int64_t row_count, size;
  const float* panels;
  int64_t panel_count;
  int64_t first;  // index of the first panel's first code
  float* distances;
  int64_t* nearest;
};

// The cache line's size.
constexpr int64_t kLineBytes = 64;

struct CpuKernels {
  // Floats in a vector.
  int64_t lanes;
  // Columns of one packed panel of weights, and rows of the register block.
  int64_t panel;
  int64_t rows;
  void (*transform_input[kWinogradTiles][kElementTypes])(const TransformInput&);
  void (*transform_output[kWinogradTiles][kElementTypes])(const TransformOutput&);
  // c [rows, panel] = a [rows, depth] times b [depth, panel]; rows of a are lda apart, rows of c
  // ldc.
  void (*multiply)(const float* a, int64_t lda, const float* b, int64_t depth, float* c,
                   int64_t ldc, int64_t rows);
  // By the dtype of the weights.
  void (*add_taps[kElementTypes])(const AddTaps&);
  void (*store_pixels[kElementTypes])(const StorePixels&);
  // Converts elements of any type to floats.
  void (*widen[kElementTypes])(const void* in, float* out, int64_t count);
  // The first pixel, and the sums over pixels of the differences from it and of their squares,
  // `channels` each.
  void (*moments[kElementTypes])(const void* in, int64_t pixels, int64_t channels, float* pivots,
                                 float* sums, float* squares);
  // Without SiLU, and with it.
  void (*scale_pixels[2][kElementTypes])(const ScaleAndShift&);
  void (*search_codes)(const CodeSearch&);
  AttentionKernels attention[kElementTypes];
};

// The set that at::get_cpu_capability() names, or the next lower one that was compiled; null if the
// compiler has no vector extension.
const CpuKernels* FindCpuKernels();

const CpuKernels* Avx512Kernels();
const CpuKernels* Avx2Kernels();
const CpuKernels* BaselineKernels();

}  // namespace latent_diffusion
