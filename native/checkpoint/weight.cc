#include "checkpoint/weight.h"

#include <ATen/ops/as_strided.h>
#include <ATen/ops/empty.h>
#include <c10/util/safe_numerics.h>

#include "error/coded_error.h"

namespace latent_diffusion {
namespace {

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

at::Tensor LoadWeight(const Weight& weight) {
  if (const auto* tensor = std::get_if<at::Tensor>(&weight)) return *tensor;
  const auto& stored = std::get<StoredTensor>(weight);
  if (!stored.strides.empty()) return LoadStrided(stored);
  at::Tensor tensor = at::empty(stored.shape, at::TensorOptions().dtype(stored.dtype));
  stored.file->Read(stored.offset, tensor.nbytes(), tensor.mutable_data_ptr());
  return tensor;
}

}  // namespace latent_diffusion
