// The parts of attention that are compiled once for each instruction set and type of elements.
// Thread: any; they touch nothing but what they are given.
#pragma once

#include <stdint.h>

namespace latent_diffusion {

// A block of one head's keys and values, `count` rows of `size` elements each; strides are in
// elements.
struct AttentionKeys {
  const void* keys;
  int64_t key_stride;
  const void* values;
  int64_t value_stride;
  int64_t count, size;
  int64_t key_block;
  float* packed;
};

// Some queries of one head, and all of its keys and values, packed block by block.
struct AttentionQueries {
  const void* queries;
  int64_t query_stride;
  int64_t query_count;
  const float* packed;
  int64_t key_count, size;
  int64_t key_block;
  // What products are multiplied by before 2 is raised to them.
  float scale;
  void* out;
  int64_t out_stride;
  float* scratch;
};

struct AttentionKernels {
  int64_t panel;     // queries side by side
  int64_t key_step;  // what a block of keys is a multiple of
  // Of a block of keys and of the values to them.
  int64_t (*packed_floats)(int64_t size, int64_t key_block);
  int64_t (*scratch_floats)(int64_t size, int64_t query_count);
  void (*pack)(const AttentionKeys&);
  void (*attend)(const AttentionQueries&);
};

}  // namespace latent_diffusion
