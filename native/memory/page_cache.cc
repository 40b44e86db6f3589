#include "memory/page_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <new>
#include <utility>

namespace latent_diffusion {
namespace {

// A multiple of every page size that Linux has.
constexpr size_t kGranule = size_t{64} << 10;
constexpr size_t kSmallestPage = 4096;
// How much may be kept above the peak use, for blocks whose sizes do not fit each other.
constexpr size_t kSlack = size_t{32} << 20;
// How much may be kept even if little is in use.
constexpr size_t kAlwaysKept = size_t{64} << 20;

size_t InGranules(size_t bytes) { return (bytes + kGranule - 1) / kGranule * kGranule; }

}  // namespace

void* PageCache::Take(size_t bytes) {
  bytes = InGranules(bytes);
  const std::lock_guard<std::mutex> lock(mutex_);
  char* block = TakeKept(bytes);
  // Before fresh pages are mapped, so that the two never add up.
  Shrink(MostKept(used_bytes_ + bytes));
  if (block == nullptr) {
    void* const fresh =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fresh == MAP_FAILED) {
      Shrink(0);
      return nullptr;
    }
    block = static_cast<char*>(fresh);
  }
  try {
    used_.emplace(block, bytes);
  } catch (const std::bad_alloc&) {
    munmap(block, bytes);
    return nullptr;
  }
  used_bytes_ += bytes;
  most_used_ = std::max(most_used_, used_bytes_);
  return block;
}

bool PageCache::Owns(void* block) {
  // Nearly all requests are small and belong to another allocator. This finds most of them without
  // the lock.
  if (reinterpret_cast<uintptr_t>(block) % kSmallestPage != 0) return false;
  const std::lock_guard<std::mutex> lock(mutex_);
  return used_.contains(block);
}

void PageCache::GiveBack(void* block) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = used_.find(block);
  const size_t bytes = found->second;
  used_.erase(found);
  used_bytes_ -= bytes;
  Keep(static_cast<char*>(block), bytes);
  Shrink(MostKept(used_bytes_));
}

void PageCache::Clear() {
  const std::lock_guard<std::mutex> lock(mutex_);
  Shrink(0);
  most_used_ = used_bytes_;
}

// Takes from the smallest range that is large enough, so that large ranges stay for large blocks.
char* PageCache::TakeKept(size_t bytes) {
  auto best = kept_.end();
  for (auto range = kept_.begin(); range != kept_.end(); ++range) {
    if (range->second >= bytes && (best == kept_.end() || range->second < best->second)) {
      best = range;
    }
  }
  if (best == kept_.end()) return nullptr;
  char* const begin = best->first;
  // The rest reuses the map entry, so that nothing is allocated.
  auto entry = kept_.extract(best);
  entry.key() += bytes;
  entry.mapped() -= bytes;
  if (entry.mapped() > 0) kept_.insert(std::move(entry));
  kept_bytes_ -= bytes;
  return begin;
}

// Merges the range with its neighbours. The system does not care which mappings the pages came
// from.
void PageCache::Keep(char* begin, size_t bytes) {
  Ranges::iterator range;
  try {
    range = kept_.emplace(begin, bytes).first;
  } catch (const std::bad_alloc&) {
    // This is called when tensors are freed, and must not throw.
    munmap(begin, bytes);
    return;
  }
  kept_bytes_ += bytes;
  if (const auto next = std::next(range); next != kept_.end() && begin + bytes == next->first) {
    range->second += next->second;
    kept_.erase(next);
  }
  if (range == kept_.begin()) return;
  if (const auto before = std::prev(range); before->first + before->second == begin) {
    before->second += range->second;
    kept_.erase(range);
  }
}

// From the end of the largest range, repeatedly.
void PageCache::Shrink(size_t most) {
  while (kept_bytes_ > most) {
    const auto largest =
        std::max_element(kept_.begin(), kept_.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    const size_t bytes = std::min(largest->second, InGranules(kept_bytes_ - most));
    // The system refuses this if the process has too many mappings.
    if (munmap(largest->first + largest->second - bytes, bytes) != 0) return;
    kept_bytes_ -= bytes;
    largest->second -= bytes;
    if (largest->second == 0) kept_.erase(largest);
  }
}

// Kept plus used memory stays at about the peak use, so keeping adds nothing to the peak. When much
// is freed, as when weights are disposed of, what is kept shrinks too.
size_t PageCache::MostKept(size_t used) const {
  const size_t needed = std::max(most_used_, used);
  return std::min(needed - used + kSlack, std::max(used / 2, kAlwaysKept));
}

}  // namespace latent_diffusion
