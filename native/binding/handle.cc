#include "binding/handle.h"

namespace latent_diffusion {
namespace {

constexpr napi_type_tag kTag = {0x6c6174656e742d64, 0x69666675736696f6};

void AdjustMemory(Napi::Env env, int64_t bytes) {
  if (bytes != 0) Napi::MemoryManagement::AdjustExternalMemory(env, bytes);
}

}  // namespace

Napi::Value TagHandle(Napi::Env env, std::unique_ptr<HandleBase> handle, int64_t bytes) {
  auto external = Napi::External<HandleBase>::New(
      env, handle.get(), [](Napi::Env finalizer_env, HandleBase* data) {
        const std::unique_ptr<HandleBase> owned(data);
        AdjustMemory(finalizer_env, -owned->TakeBytes());
      });
  handle.release();  // NOLINT(bugprone-unused-return-value): the finalizer owns it now
  external.TypeTag(&kTag);
  AdjustMemory(env, bytes);
  return external;
}

HandleBase& AsHandle(const Napi::Value& value, const char* expected) {
  if (!value.IsExternal() || !value.As<Napi::External<HandleBase>>().CheckTypeTag(&kTag)) {
    throw CodedError("ERR_INVALID_ARGUMENT", std::string("Expected the handle of a ") + expected);
  }
  return *value.As<Napi::External<HandleBase>>().Data();
}

void DisposeHandle(const Napi::Value& value) {
  HandleBase& handle = AsHandle(value, "native object");
  AdjustMemory(value.Env(), -handle.TakeBytes());
  handle.Release();
}

}  // namespace latent_diffusion
