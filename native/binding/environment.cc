#include "binding/environment.h"

#include <utility>

namespace latent_diffusion {
namespace {

// Node deletes it with the environment. Jobs hold the Environment itself.
struct InstanceData {
  std::shared_ptr<Environment> environment;
};

}  // namespace

void Environment::Create(Napi::Env env) {
  auto environment = std::make_shared<Environment>();
  environment->Open(env);
  auto data = std::make_unique<InstanceData>();
  data->environment = std::move(environment);
  env.SetInstanceData(data.release());
}

std::shared_ptr<Environment> Environment::Of(Napi::Env env) {
  return env.GetInstanceData<InstanceData>()->environment;
}

void Environment::Open(Napi::Env env) {
  const napi_value name = Napi::String::New(env, "latent-diffusion");
  const napi_status status = napi_create_threadsafe_function(
      env, nullptr, nullptr, name, /*max_queue_size=*/0, /*initial_thread_count=*/1, nullptr,
      nullptr, this, CallJavaScript, &function_);
  if (status != napi_ok) throw Napi::Error::New(env);
  napi_unref_threadsafe_function(env, function_);
  // Hooks run in reverse order, so this one runs before the function's own, which frees it.
  env.AddCleanupHook([self = shared_from_this()] { self->Close(); });
}

void Environment::Close() {
  closed_.store(true, std::memory_order_release);
  const std::lock_guard<std::mutex> lock(mutex_);
  function_ = nullptr;
}

void Environment::Expect(Napi::Env env) {
  // Close, which clears function_, runs on this thread too.
  if (pending_++ == 0 && function_ != nullptr) napi_ref_threadsafe_function(env, function_);
}

void Environment::Deliver(std::unique_ptr<Answer> answer) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (function_ == nullptr) return;
  if (napi_call_threadsafe_function(function_, answer.get(), napi_tsfn_nonblocking) == napi_ok) {
    answer.release();  // NOLINT(bugprone-unused-return-value): CallJavaScript owns it now
  }
}

void Environment::CallJavaScript(napi_env env, napi_value, void* context, void* data) {
  const std::unique_ptr<Answer> answer(static_cast<Answer*>(data));
  auto* self = static_cast<Environment*>(context);
  if (env == nullptr || self->closed()) return;
  if (--self->pending_ == 0) napi_unref_threadsafe_function(env, self->function_);
  try {
    answer->settle(env, answer->error);
  } catch (...) {
    // Settling a promise fails only in an environment that is being terminated; nobody waits for
    // it.
  }
}

}  // namespace latent_diffusion
