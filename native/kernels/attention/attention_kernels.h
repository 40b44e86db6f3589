// The parts of attention that are compiled once per instruction set and element type. Thread: any;
// they access only what they are given.
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
  // The factor of the products before the power of 2 is taken.
  float scale;
  void* out;
  int64_t out_stride;
  float* scratch;
};

struct AttentionKernels {
  int64_t panel;     // queries per panel
  int64_t key_step;  // a block of keys is a multiple of this
  // For a block of keys and its values.
  int64_t (*packed_floats)(int64_t size, int64_t key_block);
  int64_t (*scratch_floats)(int64_t size, int64_t query_count);
  void (*pack)(const AttentionKeys&);
  void (*attend)(const AttentionQueries&);
};

}  // namespace latent_diffusion
