// One parameter's values: in memory, or a place in an open file.
// Thread: an executor.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "checkpoint/random_access_file.h"

namespace latent_diffusion {

// Little-endian, as safetensors and PyTorch store them. Without strides it is contiguous, as all of
// safetensors are; with them, `offset` is the place of the first element.
struct StoredTensor {
  std::shared_ptr<RandomAccessFile> file;
  c10::ScalarType dtype;
  std::vector<int64_t> shape;
  uint64_t offset;
  std::vector<int64_t> strides = {};
};

using Weight = std::variant<at::Tensor, StoredTensor>;

// The values as they are stored; a file's are read into a new, contiguous tensor on the CPU. Throws
// ERR_INVALID_ARGUMENT for strides that do not fit the shape.
at::Tensor LoadWeight(const Weight& weight);

}  // namespace latent_diffusion
