#include "checkpoint/weight.h"

#include <ATen/EmptyTensor.h>
#include <ATen/ops/as_strided.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/util/safe_numerics.h>

#include <cstddef>

#include "error/coded_error.h"

namespace latent_diffusion {
namespace {

// Bytes; a cache line, and the widest vector.
constexpr uint64_t kLine = 64;

at::Tensor EmptyAsMapped(const StoredTensor& stored, const at::TensorOptions& options) {
  // An odd header shifts numbers across their own alignment. Python leaves them there; compiled
  // code may end the process over it.
  const size_t element = c10::elementSize(stored.dtype);
  if (stored.offset % element != 0) return at::empty(stored.shape, options);
  const size_t bytes = at::detail::computeStorageNbytesContiguous(stored.shape, element);
  const at::Tensor memory =
      at::empty({static_cast<int64_t>(bytes + kLine)}, options.dtype(c10::kByte));
  auto* const start = static_cast<std::byte*>(memory.mutable_data_ptr());
  const uint64_t shift = (stored.offset - reinterpret_cast<uintptr_t>(start)) % kLine;
  // Not a view: a storage of the tensor's own size is saved like any other.
  return at::from_blob(start + shift, stored.shape, [memory](void*) {}, options);
}

// Elements from the first one that a tensor shows to the last.
int64_t Span(const StoredTensor& stored) {
  int64_t last = 0;
  if (stored.strides.size() != stored.shape.size()) {
    throw CodedError("ERR_INVALID_ARGUMENT", "Expected as many strides as sizes");
  }
  for (size_t i = 0; i < stored.shape.size(); ++i) {
    if (stored.shape[i] == 0) return 0;
    int64_t reach = 0;
    if (stored.strides[i] < 0 ||
        c10::mul_overflows(stored.shape[i] - 1, stored.strides[i], &reach) ||
        c10::add_overflows(last, reach, &last)) {
      throw CodedError("ERR_INVALID_ARGUMENT", "Expected strides within a file");
    }
  }
  return last + 1;
}

at::Tensor LoadStrided(const StoredTensor& stored) {
  const at::Tensor span = at::empty({Span(stored)}, at::TensorOptions().dtype(stored.dtype));
  stored.file->Read(stored.offset, span.nbytes(), span.mutable_data_ptr());
  return at::as_strided(span, stored.shape, stored.strides).contiguous();
}

}  // namespace

at::Tensor LoadWeight(const Weight& weight, Address address) {
  if (const auto* tensor = std::get_if<at::Tensor>(&weight)) return *tensor;
  const auto& stored = std::get<StoredTensor>(weight);
  if (!stored.strides.empty()) return LoadStrided(stored);
  const auto options = at::TensorOptions().dtype(stored.dtype);
  at::Tensor tensor = address == Address::kAsMapped ? EmptyAsMapped(stored, options)
                                                    : at::empty(stored.shape, options);
  stored.file->Read(stored.offset, tensor.nbytes(), tensor.mutable_data_ptr());
  return tensor;
}

}  // namespace latent_diffusion
