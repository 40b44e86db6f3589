// Errors that carry one of the package's stable codes, and the translation of everything LibTorch
// throws. Thread: any; only ToJavaScript touches an environment.
#pragma once

#include <exception>
#include <stdexcept>
#include <string>

#include "error/coded_error.h"

namespace Napi {
class Env;
class Error;
}  // namespace Napi

namespace latent_diffusion {

struct ErrorInfo {
  std::string code;
  std::string message;
};

// Describes an exception for a JavaScript caller: a code of lib/errors.ts, and a message without
// C++ frames.
ErrorInfo Describe(const std::exception_ptr& exception);

// A JavaScript Error with `code`; lib/native/calls.ts translates it further.
Napi::Error ToJavaScript(Napi::Env env, const ErrorInfo& error);

}  // namespace latent_diffusion
