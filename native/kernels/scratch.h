// Memory that a thread keeps from one kernel to the next, because fresh pages would cost a page
// fault each. Thread: its own; other threads may use the pages during a parallel region.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <new>

namespace latent_diffusion {

// The product of sizes, none below 0. Throws std::bad_alloc if that many floats exceed any memory:
// an expanded tensor can have more elements than memory holds.
inline int64_t FloatCount(std::initializer_list<int64_t> sizes) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / int64_t{sizeof(float)};
  int64_t product = 1;
  for (const int64_t size : sizes) {
    if (size > 0 && product > kMost / size) throw std::bad_alloc();
    product *= size;
  }
  return product;
}

class Scratch {
 public:
  // At least `count` floats, aligned for any vector, with undefined values. Valid until the next
  // call.
  float* Floats(size_t count) {
    if (count > capacity_) {
      if (count > std::numeric_limits<size_t>::max() / sizeof(float)) throw std::bad_alloc();
      memory_.reset();
      capacity_ = 0;
      memory_.reset(static_cast<float*>(::operator new(count * sizeof(float), kAlignment)));
      capacity_ = count;
    }
    return memory_.get();
  }

  // Frees what few calls need. Earlier pointers become invalid.
  void Trim() {
    if (capacity_ * sizeof(float) <= kKept) return;
    memory_.reset();
    capacity_ = 0;
  }

 private:
  static constexpr size_t kKept = size_t{32} << 20;
  static constexpr std::align_val_t kAlignment{64};
  struct Delete {
    void operator()(float* memory) const { ::operator delete(memory, kAlignment); }
  };
  std::unique_ptr<float, Delete> memory_;
  size_t capacity_ = 0;
};

}  // namespace latent_diffusion
