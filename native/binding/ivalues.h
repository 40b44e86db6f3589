// JavaScript values <-> the interpreter's values, guided by an operator's or a method's schema.
// Thread: JavaScript.
#pragma once

#include <ATen/core/function_schema.h>
#include <ATen/core/stack.h>
#include <napi.h>

namespace latent_diffusion {

// Fills a call's stack from an array. Undefined means the default; a missing or extra argument is
// an error. `first` skips leading arguments that the caller pushed (a method's self).
void PushArguments(const c10::FunctionSchema& schema, size_t first, const Napi::Value& array,
                   torch::jit::Stack& stack);

// A tensor becomes a handle; numbers, booleans and strings stay themselves; a tuple or list becomes
// an array.
Napi::Value FromIValue(Napi::Env env, const c10::IValue& value);

}  // namespace latent_diffusion
