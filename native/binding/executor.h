// The dedicated thread of one device, shared by all Node environments of the process.
#pragma once

#include <c10/core/Device.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>

#include "binding/environment.h"
#include "binding/errors.h"
#include "binding/fair_queue.h"
#include "binding/handle.h"

namespace latent_diffusion {

// Cancels the jobs of one caller, and tells callers apart.
struct CancelFlag {
  std::atomic<bool> set{false};
  // A job of this caller was queued.
  std::atomic<bool> known{false};
};

template <>
struct HandleName<CancelFlag> {
  static constexpr const char* value = "flag";
};

// Whose turn a job waits for.
struct Turn {
  std::shared_ptr<CancelFlag> cancel;
  // Whom a job without a flag belongs to, by an address that the job keeps alive; null: to its
  // environment.
  const void* owner = nullptr;
  // Whether the job is one of those that maxQueue limits.
  bool is_limited = false;
};

// What the queue holds. `work` runs on the executor and may throw.
struct Job {
  std::shared_ptr<Environment> environment;
  Turn turn;
  std::function<void()> work;
  std::unique_ptr<Answer> answer;
};

class Executor {
 public:
  // Thread: any. Starts the thread on first use; executors live as long as the process.
  static Executor& For(const c10::Device& device);

  // Thread: any. Jobs run one after another: callers take turns, each one's jobs in this order.
  // Throws ERR_QUEUE_FULL where too many limited jobs wait; the next job of a caller that waits for
  // each of its jobs is taken all the same, so that no work ends half done.
  void Enqueue(Job job);

  // Thread: any. Drops what is queued everywhere, and waits for what runs, but for the caller's own
  // job. Returns false for a job that does not end in seconds, as code of a TorchScript file may
  // not: then the process can only be ended without its destructors.
  static bool Shutdown();

  // Thread: any. Intra-op threads of the executors, each from its next job on: that job fails where
  // the system has not so many.
  static void SetThreads(int count);
  static int Threads();

  // Thread: any. How many limited jobs may wait for each device.
  static void SetMaxQueue(int64_t count);

 private:
  explicit Executor(const c10::Device& device) : device_(device) {}
  void Run();
  Job Next();
  bool IsFullFor(const Job& job) const;
  void RemoveCancelledIfFull();
  void Execute(Job job);
  static void Abort(Job job);
  static void Answer(Job job);
  void TakeThreads();
  // No job runs any more.
  void Rest();

  const c10::Device device_;
  std::mutex mutex_;
  std::condition_variable changed_;
  FairQueue<Job> queue_;
  int64_t limited_ = 0;  // jobs of the queue that maxQueue counts
  bool busy_ = false;
  int threads_ = 0;  // the executor's thread only
};

}  // namespace latent_diffusion
