// Large blocks of pages that are kept when they are freed, and reused. Fresh pages would cost a
// page fault each; malloc would return the largest blocks to the system at once and fragment the
// others.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <unordered_map>

namespace latent_diffusion {

// Thread: any, for every method.
class PageCache {
 public:
  // Returns at least `bytes` (above 0, below 2^63), aligned to a page, with undefined values; null
  // if the system has no more memory.
  void* Take(size_t bytes);

  // Whether `block` came from Take and was not given back.
  bool Owns(void* block);

  // `block` must be owned.
  void GiveBack(void* block);

  // Returns all memory that is not in use to the system.
  void Clear();

 private:
  using Ranges = std::map<char*, size_t>;

  char* TakeKept(size_t bytes);
  void Keep(char* begin, size_t bytes);
  void Shrink(size_t most);
  size_t MostKept(size_t used) const;

  std::mutex mutex_;
  std::unordered_map<void*, size_t> used_;
  Ranges kept_;  // neighbours are merged
  size_t used_bytes_ = 0;
  size_t kept_bytes_ = 0;
  size_t most_used_ = 0;  // the maximum of used_bytes_ since the last Clear
};

}  // namespace latent_diffusion
