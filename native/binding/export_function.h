// The wrapper of every export: an inference guard, one intra-op thread, and errors with a code.
#pragma once

#include <c10/core/InferenceMode.h>
#include <napi.h>

#include "binding/errors.h"

namespace latent_diffusion {

// Gives the calling JavaScript thread one intra-op thread, once; executors keep theirs.
void PrepareCallingThread();

template <Napi::Value (*Function)(const Napi::CallbackInfo&)>
Napi::Value Guarded(const Napi::CallbackInfo& info) {
  try {
    PrepareCallingThread();
    const c10::InferenceMode inference;
    return Function(info);
  } catch (const Napi::Error& error) {
    // An error of Node-API itself. What this addon throws is caught below.
    if (!error.Value().Has("code")) error.Value().Set("code", "ERR_INVALID_ARGUMENT");
    throw;
  } catch (...) {
    throw ToJavaScript(info.Env(), Describe(std::current_exception()));
  }
}

template <Napi::Value (*Function)(const Napi::CallbackInfo&)>
void ExportFunction(Napi::Env env, Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<Guarded<Function>>(env, name));
}

}  // namespace latent_diffusion
