#include "binding/errors.h"

#include <c10/util/Exception.h>
#include <napi.h>

#include <new>
#include <system_error>

namespace latent_diffusion {
namespace {

bool SaysOutOfMemory(const std::string& message) {
  // The CPU allocator throws a plain c10::Error. The interpreter rethrows CUDA's error and the
  // standard library's as text.
  return message.find("std::bad_alloc") != std::string::npos ||
         message.find("can't allocate memory") != std::string::npos ||
         message.find("out of memory") != std::string::npos ||
         message.find("not enough memory") != std::string::npos;
}

ErrorInfo FromText(const std::string& message) {
  return {SaysOutOfMemory(message) ? "ERR_OUT_OF_MEMORY" : "ERR_TORCH", message};
}

}  // namespace

ErrorInfo Describe(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const CodedError& error) {
    return {error.code(), error.what()};
  } catch (const c10::OutOfMemoryError& error) {
    return {"ERR_OUT_OF_MEMORY", error.what_without_backtrace()};
  } catch (const c10::Error& error) {
    return FromText(error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    return {"ERR_OUT_OF_MEMORY", "The host is out of memory"};
  } catch (const std::system_error& error) {
    const bool refused = error.code() == std::errc::resource_unavailable_try_again;
    if (refused) return {"ERR_OUT_OF_MEMORY", "The system refused a thread"};
    return FromText(error.what());
  } catch (const std::exception& error) {
    return FromText(error.what());
  } catch (...) {
    return {"ERR_INTERNAL", "An exception of an unknown type was thrown"};
  }
}

Napi::Error ToJavaScript(Napi::Env env, const ErrorInfo& error) {
  Napi::Error value = Napi::Error::New(env, error.message);
  value.Value().Set("code", error.code);
  return value;
}

}  // namespace latent_diffusion
