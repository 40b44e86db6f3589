// The dedicated thread of one device, shared by all Node environments of the process.
#pragma once

#include <c10/core/Device.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

#include "binding/environment.h"
#include "binding/errors.h"
#include "binding/handle.h"

namespace latent_diffusion {

using CancelFlag = std::atomic<bool>;

template <>
struct HandleName<CancelFlag> {
  static constexpr const char* value = "flag";
};

// What the queue holds. `work` runs on the executor and may throw.
struct Job {
  std::shared_ptr<Environment> environment;
  std::shared_ptr<CancelFlag> cancel;
  std::function<void()> work;
  std::unique_ptr<Answer> answer;
};

class Executor {
 public:
  // Thread: any. Starts the thread on first use; executors live as long as the process.
  static Executor& For(const c10::Device& device);

  // Thread: any. Jobs run one after another, in this order.
  void Enqueue(Job job);

  // Thread: any. Drops what is queued everywhere, and waits for what runs, but for the caller's own
  // job.
  static void Shutdown();

  // Thread: any. Intra-op threads of the executors, each from its next job on: that job fails where
  // the system has not so many.
  static void SetThreads(int count);
  static int Threads();

 private:
  explicit Executor(const c10::Device& device) : device_(device) {}
  void Run();
  Job Next();
  void Execute(Job job);
  void TakeThreads();
  // No job runs any more.
  void Rest();

  const c10::Device device_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> queue_;
  bool busy_ = false;
  int threads_ = 0;  // the executor's thread only
};

}  // namespace latent_diffusion
