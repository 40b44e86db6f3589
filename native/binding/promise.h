// "Run this on the executor, then make a JavaScript value": the only way that work leaves the event
// loop.
#pragma once

#include <napi.h>

#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "binding/executor.h"

namespace latent_diffusion {

// Queues `work` (executor thread; may throw) and returns a promise of `convert(env, result)`
// (JavaScript thread), or a rejected one if the queue does not take it.
template <typename Work, typename Convert>
Napi::Value RunAsync(Napi::Env env, const c10::Device& device, Work work, Convert convert,
                     Turn turn = {}) {
  using Result = std::invoke_result_t<Work>;
  auto result = std::make_shared<std::optional<Result>>();
  const Napi::Promise::Deferred deferred(env);
  Job job;
  job.environment = Environment::Of(env);
  job.turn = std::move(turn);
  job.work = [work = std::move(work), result] { result->emplace(work()); };
  job.answer = std::make_unique<Answer>();
  job.answer->settle = [deferred, result, convert](Napi::Env answer_env,
                                                   const std::optional<ErrorInfo>& error) {
    if (error) return deferred.Reject(ToJavaScript(answer_env, *error).Value());
    try {
      deferred.Resolve(convert(answer_env, std::move(**result)));
    } catch (const Napi::Error& thrown) {
      deferred.Reject(thrown.Value());
    } catch (...) {
      deferred.Reject(ToJavaScript(answer_env, Describe(std::current_exception())).Value());
    }
  };
  const auto environment = job.environment;
  try {
    Executor::For(device).Enqueue(std::move(job));
  } catch (...) {
    // A promise that is never settled would be kept for ever.
    deferred.Reject(ToJavaScript(env, Describe(std::current_exception())).Value());
    return deferred.Promise();
  }
  // The job is queued now. Its answer comes later, on this thread.
  environment->Expect(env);
  return deferred.Promise();
}

}  // namespace latent_diffusion
