#include <ATen/core/Tensor.h>

#include "binding/export_function.h"
#include "binding/exports.h"
#include "binding/promise.h"
#include "binding/values.h"

namespace latent_diffusion {
namespace {

Napi::Value TensorFrom(const Napi::CallbackInfo& info) {
  return FromTensor(info.Env(), TensorFromArray(info[0], ToShape(info[1]), ToDtype(info[2])));
}

Napi::Value TensorInfo(const Napi::CallbackInfo& info) {
  const at::Tensor tensor = ToTensor(info[0]);
  auto result = Napi::Object::New(info.Env());
  result.Set("shape", FromShape(info.Env(), tensor.sizes().vec()));
  result.Set("dtype", DtypeName(tensor.scalar_type()));
  result.Set("device", tensor.device().str());
  result.Set("bytes", Napi::Number::New(info.Env(), static_cast<double>(tensor.nbytes())));
  return result;
}

Napi::Value TensorData(const Napi::CallbackInfo& info) {
  const at::Tensor tensor = ToTensor(info[0]);
  return RunAsync(
      info.Env(), tensor.device(), [tensor] { return ForArray(tensor); }, ArrayFromTensor);
}

Napi::Value TensorDataSync(const Napi::CallbackInfo& info) {
  const at::Tensor tensor = ToTensor(info[0]);
  if (!tensor.is_cpu()) {
    throw CodedError(
        "ERR_INVALID_ARGUMENT",
        "dataSync() is for tensors on the CPU; use data() for one on " + tensor.device().str());
  }
  return ArrayFromTensor(info.Env(), ForArray(tensor));
}

Napi::Value TensorTo(const Napi::CallbackInfo& info) {
  const at::Tensor tensor = ToTensor(info[0]);
  const c10::Device device = info[1].IsNull() ? tensor.device() : ToDevice(info[1]);
  const c10::ScalarType dtype = ToOptionalDtype(info[2]).value_or(tensor.scalar_type());
  // If either device is not the CPU, its thread does the work, so that its memory and streams are
  // used where they belong.
  const c10::Device executor = device.is_cpu() ? tensor.device() : device;
  return RunAsync(
      info.Env(), executor, [tensor, device, dtype] { return tensor.to(device, dtype); },
      FromTensor);
}

}  // namespace

void ExportTensor(Napi::Env env, Napi::Object exports) {
  ExportFunction<TensorFrom>(env, exports, "tensorFrom");
  ExportFunction<TensorInfo>(env, exports, "tensorInfo");
  ExportFunction<TensorData>(env, exports, "tensorData");
  ExportFunction<TensorDataSync>(env, exports, "tensorDataSync");
  ExportFunction<TensorTo>(env, exports, "tensorTo");
}

}  // namespace latent_diffusion
