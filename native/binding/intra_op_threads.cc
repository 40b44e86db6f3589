#include "binding/intra_op_threads.h"

#include <ATen/Parallel.h>

#include <cstdint>
#include <future>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "error/coded_error.h"

namespace latent_diffusion {
namespace {

// Threads that all wait until this object is destroyed.
class StandingThreads {
 public:
  StandingThreads() = default;
  StandingThreads(const StandingThreads&) = delete;
  StandingThreads& operator=(const StandingThreads&) = delete;
  ~StandingThreads() {
    gate_.set_value();
    for (std::thread& thread : threads_) thread.join();
  }

  // Throws std::system_error if the system refuses a thread.
  void Start(int count) {
    threads_.reserve(static_cast<size_t>(count));
    while (static_cast<int>(threads_.size()) < count)
      threads_.emplace_back([open = open_] { open.wait(); });
  }
  size_t count() const { return threads_.size(); }

 private:
  std::promise<void> gate_;
  std::shared_future<void> open_ = gate_.get_future().share();
  std::vector<std::thread> threads_;
};

// OpenMP answers a refusal with exit(1). So this first finds out whether the system allows that
// many more threads at the same time.
void TryThreads(int count) {
  StandingThreads threads;
  try {
    threads.Start(count);
  } catch (const std::system_error& error) {
    throw CodedError("ERR_OUT_OF_MEMORY",
                     "The system started only " + std::to_string(threads.count()) + " of " +
                         std::to_string(count) + " more threads (" + error.code().message() +
                         "); configure({ threads }) asks for fewer");
  }
}

}  // namespace

void SetOwnThreads(int count) {
  // The first parallel operator of a thread takes the number of threads that any thread set last.
  // That happens once in LibTorch and once in this addon, which has its own copy of the inline
  // function. Both happen here, so that neither overrides the number that is set below.
  at::get_num_threads();
  at::internal::lazy_init_num_threads();
  at::set_num_threads(count);
}

void StartOwnThreads(int count) {
  thread_local int started = 1;
  if (count > started) TryThreads(count - started);
  SetOwnThreads(count);
  // At once, before others take the threads that were free.
  at::parallel_for(0, count, 1, [](int64_t, int64_t) {});
  started = count;
}

}  // namespace latent_diffusion
