// Memory that a thread keeps from one kernel to the next: fresh pages would cost a fault each.
// Thread: its own; pages may be lent to others for the length of a parallel region.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace latent_diffusion {

class Scratch {
 public:
  // At least `count` floats, aligned for any vector, with undefined values. Valid until the next
  // call.
  float* Floats(size_t count) {
    if (count > capacity_) {
      memory_.reset();
      memory_.reset(static_cast<float*>(::operator new(count * sizeof(float), kAlignment)));
      capacity_ = count;
    }
    return memory_.get();
  }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Delete {
    void operator()(float* memory) const { ::operator delete(memory, kAlignment); }
  };
  std::unique_ptr<float, Delete> memory_;
  size_t capacity_ = 0;
};

}  // namespace latent_diffusion
