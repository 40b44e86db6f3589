// The kernels that are compiled once for each instruction set, and which of them this process uses.
// Thread: any; they touch nothing but what they are given.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/attention/attention_kernels.h"

namespace latent_diffusion {

// Elements are float or bfloat16, said by the table's index; arithmetic is float32.
enum ElementType { kFloat32 = 0, kBFloat16 = 1, kElementTypes = 2 };

// Winograd's tiles: F(2x2, 3x3) and F(4x4, 3x3).
enum WinogradTile { kTile2 = 0, kTile4 = 1, kWinogradTiles = 2 };

// One tile's points are patch x patch pixels of the input. What lies outside the picture points to
// zeros.
struct TransformInput {
  const void* const* pixels;  // patch * patch pointers to `channels` elements each
  int64_t channels;
  float* out;  // point p's channels lie from out + p * out_stride
  int64_t out_stride;
};

// One tile's outputs are tile x tile pixels. `columns` lie side by side; a pixel outside the
// picture is null.
struct TransformOutput {
  const float* in;  // point p's columns lie from in + p * in_stride
  int64_t in_stride;
  int64_t columns;
  const float* bias;            // `columns`, or null
  const void* const* residual;  // tile * tile pointers to what is added, or null
  void* const* pixels;          // tile * tile pointers
};

// Pixels side by side and one panel of weights: sums [pixel][panel] of all taps and `depth`
// channels.
struct AddTaps {
  const float* pixels;  // pixel_stride apart
  int64_t pixel_count, pixel_stride;
  const int64_t* taps;  // from a pixel to the one that a tap sees, in floats
  int64_t tap_count, depth;
  const void* weights;  // [tap][depth][panel]
  float* sums;
  bool accumulate;
  // What is needed next: so many lines of it for each tap of a block of pixels.
  const void* next;
  int64_t next_lines;
};

// Sums of pixels side by side to where they belong: out = sums + bias + residual.
struct StorePixels {
  const float* sums;  // sums_stride apart, whole vectors of columns
  int64_t sums_stride;
  int64_t pixels, columns;
  int64_t pixel_stride;  // of residual and out, in elements
  const float* bias;     // `columns`, or null
  const void* residual;  // or null
  void* out;
};

// `pixels` times `channels` elements: out = in * scale + shift, a channel each.
struct ScaleAndShift {
  const void* in;
  void* out;
  int64_t pixels, channels;
  const float *scale, *shift;
};

// `row_count` rows of `size` floats, and codes packed [panel][size][lanes]. For each row the least
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

// What a processor's caches hold at a time.
constexpr int64_t kLineBytes = 64;

struct CpuKernels {
  // Floats in a vector.
  int64_t lanes;
  // Columns of one packed panel of weights, and the rows of the register block.
  int64_t panel;
  int64_t rows;
  void (*transform_input[kWinogradTiles][kElementTypes])(const TransformInput&);
  void (*transform_output[kWinogradTiles][kElementTypes])(const TransformOutput&);
  // c [rows, panel] = a [rows, depth] times b [depth, panel]; a's rows are lda apart, c's ldc.
  void (*multiply)(const float* a, int64_t lda, const float* b, int64_t depth, float* c,
                   int64_t ldc, int64_t rows);
  // By the weights' type.
  void (*add_taps[kElementTypes])(const AddTaps&);
  void (*store_pixels[kElementTypes])(const StorePixels&);
  // Any elements as floats.
  void (*widen[kElementTypes])(const void* in, float* out, int64_t count);
  // The first pixel, and sums over pixels of the differences from it and of their squares,
  // `channels` each.
  void (*moments[kElementTypes])(const void* in, int64_t pixels, int64_t channels, float* pivots,
                                 float* sums, float* squares);
  // Without and with SiLU after it.
  void (*scale_pixels[2][kElementTypes])(const ScaleAndShift&);
  void (*search_codes)(const CodeSearch&);
  AttentionKernels attention[kElementTypes];
};

// What at::get_cpu_capability() names, or the next lower set that was compiled; null where the
// compiler has no vectors.
const CpuKernels* FindCpuKernels();

const CpuKernels* Avx512Kernels();
const CpuKernels* Avx2Kernels();
const CpuKernels* BaselineKernels();

}  // namespace latent_diffusion
