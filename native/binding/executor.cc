#include "binding/executor.h"

#include <ATen/Parallel.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/InferenceMode.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "binding/intra_op_threads.h"
#include "memory/caching_allocator.h"
#include "torchscript/interpreter_settings.h"

namespace latent_diffusion {
namespace {

// Without work for so long, memory that was kept for the next job goes back to the system.
constexpr std::chrono::seconds kPause{1};

// A job that ends at all ends within so long: one forward, one stage of a decode.
constexpr std::chrono::seconds kPatience{5};

struct Executors {
  std::mutex mutex;
  std::map<std::pair<c10::DeviceType, c10::DeviceIndex>, Executor*> by_device;
};

// Never destroyed: threads may run while the process's static objects are torn down.
Executors& AllExecutors() {
  static auto* executors = new Executors;  // NOLINT(cppcoreguidelines-owning-memory)
  return *executors;
}

std::atomic<bool> closing{false};
std::atomic<int> wanted_threads{0};
// lib/native/open.ts documents it.
std::atomic<int64_t> max_queue{1024};

// The one whose thread this is.
thread_local Executor* current = nullptr;

int DefaultThreads() {
  // Asked before any set_num_threads, this is OMP_NUM_THREADS or the number of cores.
  static const int count = at::get_num_threads();
  return count;
}

bool IsCancelled(const Job& job) { return job.turn.cancel && job.turn.cancel->set; }

// Whoever shares a flag is one caller; without a flag, all that waits for one module is.
const void* CallerOf(const Job& job) {
  if (job.turn.cancel) return job.turn.cancel.get();
  return job.turn.owner != nullptr ? job.turn.owner : job.environment.get();
}

}  // namespace

Executor& Executor::For(const c10::Device& device) {
  Executors& executors = AllExecutors();
  const std::lock_guard<std::mutex> lock(executors.mutex);
  const auto key =
      std::make_pair(device.type(), device.has_index() ? device.index() : c10::DeviceIndex{0});
  auto found = executors.by_device.find(key);
  if (found != executors.by_device.end()) return *found->second;
  DefaultThreads();
#ifndef _WIN32
  // Registered after LibTorch was opened, so it runs before LibTorch's own static objects go.
  if (executors.by_device.empty()) {
    std::atexit([] {
      if (!Shutdown()) std::_Exit(EXIT_FAILURE);
    });
  }
#endif
  auto* const executor =
      new Executor(c10::Device(key.first, device.is_cpu() ? c10::DeviceIndex{-1} : key.second));
  // A thread that cannot be had throws, and leaves no executor that nobody serves.
  std::thread([executor] { executor->Run(); }).detach();
  executors.by_device.emplace(key, executor);
  return *executor;
}

void Executor::Enqueue(Job job) {
  if (job.turn.is_limited) RemoveCancelledIfFull();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (IsFullFor(job)) {
      throw CodedError("ERR_QUEUE_FULL", "Expected at most " + std::to_string(max_queue) +
                                             " forwards that wait for " + device_.str() +
                                             " (maxQueue) but received one more");
    }
    const bool is_limited = job.turn.is_limited;
    const std::shared_ptr<CancelFlag> flag = job.turn.cancel;
    const void* const caller = CallerOf(job);
    queue_.Push(caller, std::move(job));
    if (is_limited) limited_++;
    if (flag) flag->known = true;
  }
  changed_.notify_all();
}

bool Executor::IsFullFor(const Job& job) const {
  if (!job.turn.is_limited || limited_ < max_queue) return false;
  const bool goes_on =
      job.turn.cancel && job.turn.cancel->known && !queue_.Holds(job.turn.cancel.get());
  return !goes_on;
}

void Executor::RemoveCancelledIfFull() {
  std::vector<Job> cancelled;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (limited_ < max_queue) return;
    cancelled = queue_.Remove(IsCancelled);
    for (const Job& job : cancelled) limited_ -= job.turn.is_limited ? 1 : 0;
  }
  for (Job& job : cancelled) Abort(std::move(job));
}

// Thread: any.
void Executor::Abort(Job job) {
  job.answer->error = ErrorInfo{"ERR_ABORTED", "The operation was aborted"};
  Answer(std::move(job));
}

void Executor::Run() {
  current = this;
  ConfigureInterpreterThread();
  while (true) {
    Execute(Next());
    Rest();
  }
}

void Executor::Rest() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    busy_ = false;
  }
  changed_.notify_all();
}

Job Executor::Next() {
  const auto queued = [this] { return !queue_.empty(); };
  std::unique_lock<std::mutex> lock(mutex_);
  if (device_.is_cpu() && !changed_.wait_for(lock, kPause, queued)) {
    lock.unlock();
    ReleaseCachedMemory();
    lock.lock();
  }
  changed_.wait(lock, queued);
  Job job = queue_.Pop();
  if (job.turn.is_limited) limited_--;
  busy_ = true;
  return job;
}

void Executor::Execute(Job job) {
  if (closing || job.environment->closed()) return;
  if (IsCancelled(job)) return Abort(std::move(job));
  try {
    const c10::InferenceMode inference;
    const c10::OptionalDeviceGuard guard(device_);
    TakeThreads();
    job.work();
  } catch (...) {
    job.answer->error = Describe(std::current_exception());
  }
  Answer(std::move(job));
}

void Executor::Answer(Job job) {
  // Before the answer: whoever gets it may dispose of what the work used, and count on its memory.
  job.work = nullptr;
  job.environment->Deliver(std::move(job.answer));
}

bool Executor::Shutdown() {
  closing = true;
  // Whatever a job calls may end the process, as OpenMP does where it gets no thread: then this is
  // an executor's own thread, and nobody must wait for its job.
  if (current != nullptr) current->Rest();
  Executors& executors = AllExecutors();
  const std::lock_guard<std::mutex> lock(executors.mutex);
  for (const auto& [device, executor] : executors.by_device) {
    std::unique_lock<std::mutex> executor_lock(executor->mutex_);
    executor->queue_.Clear();
    executor->limited_ = 0;
    if (!executor->changed_.wait_for(executor_lock, kPatience,
                                     [executor = executor] { return !executor->busy_; })) {
      return false;
    }
  }
  return true;
}

void Executor::TakeThreads() {
  const int wanted = Threads();
  if (wanted == threads_) return;
  StartOwnThreads(wanted);
  threads_ = wanted;
}

void Executor::SetMaxQueue(int64_t count) { max_queue = count; }

void Executor::SetThreads(int count) {
  DefaultThreads();
  wanted_threads = count;
}

int Executor::Threads() {
  const int wanted = wanted_threads;
  return wanted > 0 ? wanted : DefaultThreads();
}

}  // namespace latent_diffusion
