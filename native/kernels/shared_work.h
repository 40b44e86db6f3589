// Units of work that threads share. Each thread has a part of its own and works through it in
// order, so that it reads consecutive memory. A thread that is done takes units from the end of the
// others' parts. So a thread whose core is busy, for example with JavaScript, delays the others by
// at most one unit. Thread: any; uses LibTorch's intra-op threads.
#pragma once

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

namespace latent_diffusion {

class SharedWork {
 public:
  // Throws for 2^32 units or more.
  SharedWork(int64_t units, int64_t threads) : parts_(static_cast<size_t>(threads)) {
    TORCH_CHECK(units >> 32 == 0, "Expected fewer than 2^32 units of work, but received ", units);
    for (int64_t i = 0; i < threads; i++)
      parts_[i].range = Pack(units * i / threads, units * (i + 1) / threads);
  }

  // The next unit for the thread with this part; none if all are taken.
  std::optional<int64_t> Take(int64_t part) {
    if (const auto own = TakeFirst(parts_[part].range)) return own;
    for (size_t i = 1; i < parts_.size(); i++) {
      auto& other = parts_[(static_cast<size_t>(part) + i) % parts_.size()].range;
      if (const auto last = TakeLast(other)) return last;
    }
    return std::nullopt;
  }

 private:
  // Begin and end of what is left of a part, in one word. Each part has its own cache line.
  struct alignas(64) Part {
    std::atomic<uint64_t> range{0};
  };

  static uint64_t Pack(int64_t begin, int64_t end) {
    return static_cast<uint64_t>(begin) << 32 | static_cast<uint64_t>(end);
  }
  static int64_t Begin(uint64_t range) { return static_cast<int64_t>(range >> 32); }
  static int64_t End(uint64_t range) { return static_cast<int64_t>(range & 0xffffffff); }

  static std::optional<int64_t> TakeFirst(std::atomic<uint64_t>& range) {
    uint64_t seen = range.load(std::memory_order_relaxed);
    while (Begin(seen) < End(seen)) {
      if (range.compare_exchange_weak(seen, Pack(Begin(seen) + 1, End(seen)))) return Begin(seen);
    }
    return std::nullopt;
  }
  static std::optional<int64_t> TakeLast(std::atomic<uint64_t>& range) {
    uint64_t seen = range.load(std::memory_order_relaxed);
    while (Begin(seen) < End(seen)) {
      if (range.compare_exchange_weak(seen, Pack(Begin(seen), End(seen) - 1))) return End(seen) - 1;
    }
    return std::nullopt;
  }

  std::vector<Part> parts_;
};

// Calls work(take) on this many threads; `take` returns the thread's next unit, or none.
template <typename Work>
void ShareWork(int64_t units, int64_t threads, const Work& work) {
  SharedWork shared(units, threads);
  at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; part++) work([&] { return shared.Take(part); });
  });
}

}  // namespace latent_diffusion
