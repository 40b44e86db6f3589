#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <mutex>

#include "binding/export_function.h"
#include "binding/exports.h"
#include "binding/values.h"

namespace latent_diffusion {
namespace {

at::Generator NewGenerator(const c10::Device& device) {
  if (device.is_cpu()) return at::make_generator<at::CPUGeneratorImpl>();
  return at::globalContext()
      .getAcceleratorHooksInterface(device.type())
      .getNewGenerator(device.index());
}

Napi::Value GeneratorCreate(const Napi::CallbackInfo& info) {
  if (!info[1].IsBigInt())
    throw CodedError("ERR_INVALID_ARGUMENT", "Expected a bigint for the seed");
  bool lossless = false;
  const uint64_t seed = info[1].As<Napi::BigInt>().Uint64Value(&lossless);
  at::Generator generator = NewGenerator(ToDevice(info[0]));
  generator.set_current_seed(seed);
  return MakeHandle(info.Env(), std::make_shared<at::Generator>(std::move(generator)), 0);
}

Napi::Value GeneratorInfo(const Napi::CallbackInfo& info) {
  const auto generator = FromHandle<at::Generator>(info[0]);
  auto result = Napi::Object::New(info.Env());
  const std::lock_guard<std::mutex> lock(generator->mutex());
  result.Set("device", generator->device().str());
  result.Set("seed", Napi::BigInt::New(info.Env(), generator->current_seed()));
  return result;
}

Napi::Value GeneratorGetState(const Napi::CallbackInfo& info) {
  const auto generator = FromHandle<at::Generator>(info[0]);
  at::Tensor state;
  {
    // An executor may draw from it meanwhile.
    const std::lock_guard<std::mutex> lock(generator->mutex());
    state = generator->get_state();
  }
  return ArrayFromTensor(info.Env(), state);
}

Napi::Value GeneratorSetState(const Napi::CallbackInfo& info) {
  const auto generator = FromHandle<at::Generator>(info[0]);
  if (!info[1].IsTypedArray())
    throw CodedError("ERR_INVALID_ARGUMENT", "Expected a Uint8Array for the state");
  const auto length = static_cast<int64_t>(info[1].As<Napi::TypedArray>().ElementLength());
  const at::Tensor state = TensorFromArray(info[1], {length}, c10::ScalarType::Byte);
  try {
    const std::lock_guard<std::mutex> lock(generator->mutex());
    generator->set_state(state);
  } catch (const c10::Error& error) {
    throw CodedError("ERR_INVALID_ARGUMENT", std::string("Not a state of a generator on ") +
                                                 generator->device().str() + ": " +
                                                 error.what_without_backtrace());
  }
  return info.Env().Undefined();
}

}  // namespace

void ExportGenerator(Napi::Env env, Napi::Object exports) {
  ExportFunction<GeneratorCreate>(env, exports, "generatorCreate");
  ExportFunction<GeneratorInfo>(env, exports, "generatorInfo");
  ExportFunction<GeneratorGetState>(env, exports, "generatorGetState");
  ExportFunction<GeneratorSetState>(env, exports, "generatorSetState");
}

}  // namespace latent_diffusion
