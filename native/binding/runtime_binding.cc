#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/cpu/Utils.h>
#include <torch/headeronly/version.h>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>
#else
#include <dlfcn.h>
#endif

#include <cstdlib>

#include "binding/executor.h"
#include "binding/export_function.h"
#include "binding/exports.h"
#include "binding/handle.h"
#include "binding/intra_op_threads.h"
#include "binding/values.h"
#include "memory/caching_allocator.h"
#include "torchscript/operator_profile.h"

namespace latent_diffusion {

void PrepareCallingThread() {
  thread_local const bool prepared = [] {
    // Reads the executors' default first: after the next line it would be 1.
    Executor::Threads();
    SetOwnThreads(1);
    return true;
  }();
  static_cast<void>(prepared);
}

namespace {

// lib/native/open.ts checks for sensible numbers.
constexpr int64_t kMostThreads = 1 << 16;

// Node closes an addon with the last environment that loaded it, even if an executor is still
// inside.
void KeepLoaded() {
#ifdef _WIN32
  HMODULE self = nullptr;
  GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
                     reinterpret_cast<LPCWSTR>(&KeepLoaded), &self);
#else
  Dl_info self;
  if (dladdr(reinterpret_cast<void*>(&KeepLoaded), &self) != 0) {
    dlopen(self.dli_fname, RTLD_NOW | RTLD_NODELETE | RTLD_NOLOAD);
  }
#endif
}

Napi::Value RuntimeInfo(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto result = Napi::Object::New(env);
  result.Set("builtWith", TORCH_VERSION);
  result.Set("cpuCapability", at::get_cpu_capability());
  result.Set(
      "cudaDevices",
      Napi::Number::New(env, at::globalContext().hasCUDA()
                                 ? static_cast<double>(at::detail::getCUDAHooks().getNumGPUs())
                                 : 0));
  result.Set("threads", Napi::Number::New(env, Executor::Threads()));
  return result;
}

Napi::Value SetThreads(const Napi::CallbackInfo& info) {
  const int64_t count = ToInt64(info[0]);
  if (count < 1 || count > kMostThreads)
    throw CodedError("ERR_INVALID_ARGUMENT", "Expected 1 to 65536 threads");
  Executor::SetThreads(static_cast<int>(count));
  return info.Env().Undefined();
}

Napi::Value SetMaxQueue(const Napi::CallbackInfo& info) {
  const int64_t count = ToInt64(info[0]);
  if (count < 1) throw CodedError("ERR_INVALID_ARGUMENT", "Expected 1 or more for maxQueue");
  Executor::SetMaxQueue(count);
  return info.Env().Undefined();
}

Napi::Value ProfileOperators(const Napi::CallbackInfo& info) {
  if (ToBool(info[0])) {
    StartOperatorProfile();
    return info.Env().Undefined();
  }
  const auto times = StopOperatorProfile();
  auto result = Napi::Array::New(info.Env(), times.size());
  for (uint32_t i = 0; i < times.size(); i++) {
    auto entry = Napi::Object::New(info.Env());
    entry.Set("name", times[i].name);
    entry.Set("calls", static_cast<double>(times[i].calls));
    entry.Set("milliseconds", times[i].milliseconds);
    result.Set(i, entry);
  }
  return result;
}

Napi::Value Shutdown(const Napi::CallbackInfo& info) {
  const int code = info[0].IsNumber() ? info[0].As<Napi::Number>().Int32Value() : EXIT_FAILURE;
  // What still runs would use static objects while they are destroyed.
  if (!Executor::Shutdown()) std::_Exit(code);
  return info.Env().Undefined();
}

Napi::Value Dispose(const Napi::CallbackInfo& info) {
  DisposeHandle(info[0]);
  return info.Env().Undefined();
}

Napi::Value FlagCreate(const Napi::CallbackInfo& info) {
  return MakeHandle(info.Env(), std::make_shared<CancelFlag>(), 0);
}

Napi::Value FlagSet(const Napi::CallbackInfo& info) {
  FromHandle<CancelFlag>(info[0])->set = true;
  return info.Env().Undefined();
}

}  // namespace

void ExportRuntime(Napi::Env env, Napi::Object exports) {
  KeepLoaded();
  UseCachingAllocator();
  ExportFunction<RuntimeInfo>(env, exports, "runtimeInfo");
  ExportFunction<SetThreads>(env, exports, "setThreads");
  ExportFunction<SetMaxQueue>(env, exports, "setMaxQueue");
  ExportFunction<ProfileOperators>(env, exports, "profileOperators");
  ExportFunction<Shutdown>(env, exports, "shutdown");
  ExportFunction<Dispose>(env, exports, "dispose");
  ExportFunction<FlagCreate>(env, exports, "flagCreate");
  ExportFunction<FlagSet>(env, exports, "flagSet");
}

}  // namespace latent_diffusion
