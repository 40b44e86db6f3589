// One Node environment (the main thread or a worker), to which finished jobs report.
#pragma once

#include <napi.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "binding/errors.h"

namespace latent_diffusion {

// How a job ended, for JavaScript. It is made before the job is queued, so that reporting needs no
// memory.
struct Answer {
  // Runs on the JavaScript thread.
  std::function<void(Napi::Env, const std::optional<ErrorInfo>&)> settle;
  std::optional<ErrorInfo> error;
};

class Environment : public std::enable_shared_from_this<Environment> {
 public:
  // Thread: JavaScript. Made when the addon is loaded into the environment, closed by the cleanup
  // hook of the environment.
  static void Create(Napi::Env env);
  static std::shared_ptr<Environment> Of(Napi::Env env);

  // Thread: JavaScript. Keeps the event loop alive until the answer is delivered.
  void Expect(Napi::Env env);

  // Thread: any. Settles `answer` on the JavaScript thread, or drops it if the environment is gone.
  void Deliver(std::unique_ptr<Answer> answer);

  // Thread: any. Whether the environment is closing; its queued jobs are then dropped.
  bool closed() const { return closed_.load(std::memory_order_acquire); }

 private:
  void Open(Napi::Env env);
  void Close();
  static void CallJavaScript(napi_env env, napi_value callback, void* context, void* data);

  std::mutex mutex_;
  napi_threadsafe_function function_ = nullptr;  // guarded by mutex_; null once closed
  std::atomic<bool> closed_{false};
  int pending_ = 0;  // JavaScript thread only
};

}  // namespace latent_diffusion
