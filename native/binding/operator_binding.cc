#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "binding/export_function.h"
#include "binding/exports.h"
#include "binding/ivalues.h"
#include "binding/promise.h"
#include "binding/values.h"

namespace latent_diffusion {
namespace {

// What JavaScript may call: operators that compute, and neither write in place nor access files.
// Sorted. lib/torch/tensor.ts has their types, `Operators`.
constexpr auto kAllowed = std::to_array<std::string_view>({
    "abs",
    "add.Scalar",
    "add.Tensor",
    "arange.start_step",
    "bmm",
    "cat",
    "clamp",
    "clamp.Tensor",
    "contiguous",
    "cos",
    "cumprod",
    "div.Scalar",
    "div.Tensor",
    "exp",
    "expm1",
    "flip",
    "full",
    "index_select",
    "linalg_solve",
    "linspace",
    "log",
    "max",
    "mul.Scalar",
    "mul.Tensor",
    "neg",
    "ones",
    "permute",
    "pow.Scalar",
    "pow.Tensor_Scalar",
    "quantile",
    "quantile.scalar",
    "rand.generator",
    "randn.generator",
    "reciprocal",
    "repeat_interleave.self_int",
    "reshape",
    "round",
    "rsub.Scalar",
    "select.int",
    "sigmoid",
    "slice.Tensor",
    "sqrt",
    "stack",
    "sub.Scalar",
    "sub.Tensor",
    "to.device",
    "to.dtype",
    "unsqueeze",
    "zeros",
});

struct Call {
  c10::OperatorHandle handle;
  torch::jit::Stack stack;
};

Call MakeCall(const Napi::CallbackInfo& info) {
  const std::string name = ToString(info[0]);
  if (!std::binary_search(kAllowed.begin(), kAllowed.end(), std::string_view(name))) {
    throw CodedError("ERR_INVALID_ARGUMENT", "The operator " + name + " is not on the list");
  }
  const size_t dot = name.find('.');
  const std::string overload = dot == std::string::npos ? "" : name.substr(dot + 1);
  Call call{c10::Dispatcher::singleton().findSchemaOrThrow(("aten::" + name.substr(0, dot)).c_str(),
                                                           overload.c_str()),
            {}};
  PushArguments(call.handle.schema(), 0, info[1], call.stack);
  return call;
}

c10::Device DeviceOf(const torch::jit::Stack& stack) {
  const auto found = std::find_if(stack.begin(), stack.end(), [](const c10::IValue& value) {
    return value.isTensor() || value.isTensorList();
  });
  if (found == stack.end()) return c10::kCPU;
  if (found->isTensor()) return found->toTensor().device();
  const auto tensors = found->toTensorList();
  return tensors.empty() ? c10::Device(c10::kCPU) : tensors.get(0).device();
}

c10::IValue RunCall(Call call) {
  call.handle.callBoxed(call.stack);
  return call.stack.at(0);
}

Napi::Value Op(const Napi::CallbackInfo& info) {
  return FromIValue(info.Env(), RunCall(MakeCall(info)));
}

Napi::Value OpAsync(const Napi::CallbackInfo& info) {
  const Call call = MakeCall(info);
  return RunAsync(info.Env(), DeviceOf(call.stack), [call] { return RunCall(call); }, FromIValue);
}

}  // namespace

void ExportOperator(Napi::Env env, Napi::Object exports) {
  ExportFunction<Op>(env, exports, "op");
  ExportFunction<OpAsync>(env, exports, "opAsync");
}

}  // namespace latent_diffusion
