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
  std::vector<int64_t> strides;
};

using Weight = std::variant<at::Tensor, StoredTensor>;

// Where the values of a file are read to. A product rounds by the address of its operands.
enum class Address {
  // As LibTorch allocates: a multiple of 64.
  kAligned,
  // Modulo 64, what Python's `from_pretrained` has, which maps the file: the tensor's place in it.
  // Strided tensors are copied there too, and aligned.
  kAsMapped,
};

// The values as they are stored; a file's are read into a new, contiguous tensor on the CPU. Throws
// ERR_INVALID_ARGUMENT for strides that do not fit the shape.
at::Tensor LoadWeight(const Weight& weight, Address address);

}  // namespace latent_diffusion
