// Large blocks of pages, kept when they are given back and handed out again: fresh pages would cost
// a fault each, and malloc both returns the largest at once and scatters the others.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <unordered_map>

namespace latent_diffusion {

// Thread: any, for every method.
class PageCache {
 public:
  // At least `bytes` (above 0, below 2^63) from the start of a page on, with undefined values;
  // null if the system has no more.
  void* Take(size_t bytes);

  // Whether it came from Take and was not given back.
  bool Owns(void* block);

  // For what it owns.
  void GiveBack(void* block);

  // Returns to the system all that is not handed out.
  void Clear();

 private:
  using Ranges = std::map<char*, size_t>;

  char* TakeKept(size_t bytes);
  void Keep(char* begin, size_t bytes);
  void Shrink(size_t most);
  size_t MostKept(size_t used) const;

  std::mutex mutex_;
  std::unordered_map<void*, size_t> used_;
  Ranges kept_;  // neighbours are joined
  size_t used_bytes_ = 0;
  size_t kept_bytes_ = 0;
  size_t most_used_ = 0;  // of used_bytes_, since the last Clear
};

}  // namespace latent_diffusion
