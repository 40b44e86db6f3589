#include "checkpoint/weight.h"

#include <ATen/ops/empty.h>

namespace latent_diffusion {

at::Tensor LoadWeight(const Weight& weight) {
  if (const auto* tensor = std::get_if<at::Tensor>(&weight)) return *tensor;
  const auto& stored = std::get<StoredTensor>(weight);
  at::Tensor tensor = at::empty(stored.shape, at::TensorOptions().dtype(stored.dtype));
  stored.file->Read(stored.offset, tensor.nbytes(), tensor.mutable_data_ptr());
  return tensor;
}

}  // namespace latent_diffusion
