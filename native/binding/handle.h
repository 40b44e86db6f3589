// Opaque, type-tagged references that JavaScript holds to native objects. Thread: the JavaScript
// thread of the environment that made them. Queued jobs share the objects behind them.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "binding/errors.h"

namespace latent_diffusion {

// Specialised next to each type that JavaScript may hold.
template <typename T>
struct HandleName;

class HandleBase {
 public:
  explicit HandleBase(const char* name, int64_t bytes) : name_(name), bytes_(bytes) {}
  HandleBase(const HandleBase&) = delete;
  HandleBase& operator=(const HandleBase&) = delete;
  virtual ~HandleBase() = default;

  const char* name() const { return name_; }
  // Returns the bytes to subtract from V8's count of external memory; 0 after the first call.
  int64_t TakeBytes() { return std::exchange(bytes_, 0); }
  // Releases the object; queued jobs may still hold it.
  virtual void Release() = 0;

 private:
  const char* name_;
  int64_t bytes_;
};

template <typename T>
class Handle : public HandleBase {
 public:
  Handle(std::shared_ptr<T> value, int64_t bytes)
      : HandleBase(HandleName<T>::value, bytes), value_(std::move(value)) {}

  const std::shared_ptr<T>& value() const { return value_; }
  void Release() override { value_.reset(); }

 private:
  std::shared_ptr<T> value_;
};

// Checks the tag that MakeHandle sets, so that a foreign value gives an error and never a wild
// pointer.
HandleBase& AsHandle(const Napi::Value& value, const char* expected);

// Tags the value and reports the memory behind it to V8.
Napi::Value TagHandle(Napi::Env env, std::unique_ptr<HandleBase> handle, int64_t bytes);

// Frees the object behind the handle at once, unless jobs hold it.
void DisposeHandle(const Napi::Value& value);

template <typename T>
Napi::Value MakeHandle(Napi::Env env, std::shared_ptr<T> value, int64_t bytes) {
  return TagHandle(env, std::make_unique<Handle<T>>(std::move(value), bytes), bytes);
}

template <typename T>
std::shared_ptr<T> FromHandle(const Napi::Value& value) {
  auto* handle = dynamic_cast<Handle<T>*>(&AsHandle(value, HandleName<T>::value));
  if (handle == nullptr) {
    throw CodedError("ERR_INVALID_ARGUMENT",
                     std::string("Expected the handle of a ") + HandleName<T>::value);
  }
  if (!handle->value()) {
    throw CodedError("ERR_DISPOSED", std::string("This ") + HandleName<T>::value + " was disposed");
  }
  return handle->value();
}

}  // namespace latent_diffusion
