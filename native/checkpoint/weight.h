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

// Contiguous, little-endian, as safetensors stores them.
struct StoredTensor {
  std::shared_ptr<RandomAccessFile> file;
  c10::ScalarType dtype;
  std::vector<int64_t> shape;
  uint64_t offset;
};

using Weight = std::variant<at::Tensor, StoredTensor>;

// The values as they are stored; a file's are read into a new tensor on the CPU.
at::Tensor LoadWeight(const Weight& weight);

}  // namespace latent_diffusion
