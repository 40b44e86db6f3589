#include "memory/caching_allocator.h"

#include <c10/core/CPUAllocator.h>

#include <mutex>

#include "error/environment_switch.h"
#include "memory/page_cache.h"

namespace latent_diffusion {
namespace {

constexpr size_t kSmallest = size_t{256} << 10;
// Larger than any address space: such a request is a mistake, and LibTorch has the message for it.
constexpr size_t kLargest = size_t{1} << 62;

// Never destroyed: tensors may outlive the static objects of the process.
PageCache& Pages() {
  static auto* pages = new PageCache;  // NOLINT(cppcoreguidelines-owning-memory)
  return *pages;
}

// LibTorch's own allocator serves small requests and reports errors.
class CachingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* const memory = Allocate(bytes);
    return {memory, memory, &Free, c10::Device(c10::kCPU)};
  }

  // oneDNN frees its memory only through this, even if it was allocated before this allocator was
  // set.
  c10::DeleterFnPtr raw_deleter() const override { return &Free; }

  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

 private:
  static void* Allocate(size_t bytes) {
    if (bytes >= kSmallest && bytes <= kLargest) {
      if (void* const memory = Pages().Take(bytes)) {
        c10::profiledCPUMemoryReporter().New(memory, bytes);
        return memory;
      }
    }
    return c10::GetDefaultCPUAllocator()->raw_allocate(bytes);
  }

  static void Free(void* memory) {
    if (!Pages().Owns(memory)) {
      c10::GetDefaultCPUAllocator()->raw_deallocate(memory);
      return;
    }
    // While the address cannot be reused yet.
    c10::profiledCPUMemoryReporter().Delete(memory);
    Pages().GiveBack(memory);
  }
};

// Never destroyed, like its pages.
CachingAllocator& Own() {
  static auto* own = new CachingAllocator;  // NOLINT(cppcoreguidelines-owning-memory)
  return *own;
}

}  // namespace

void UseCachingAllocator() {
  static std::once_flag once;
  std::call_once(once, [] {
    // bench/allocator.mjs compares the two.
    if (IsSwitchedOn("LATENT_DIFFUSION_WITHOUT_ALLOCATOR")) return;
    // Another allocator was set for a reason. At LibTorch's own priority, one can still be set
    // later.
    if (c10::GetCPUAllocator() == c10::GetDefaultCPUAllocator()) c10::SetCPUAllocator(&Own());
  });
}

void ReleaseCachedMemory() { Pages().Clear(); }

}  // namespace latent_diffusion
