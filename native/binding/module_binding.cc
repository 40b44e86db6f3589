#include <ATen/core/Tensor.h>

#include <memory>
#include <utility>

#include "binding/export_function.h"
#include "binding/exports.h"
#include "binding/ivalues.h"
#include "binding/promise.h"
#include "binding/values.h"
#include "binding/weights.h"
#include "torchscript/executable.h"
#include "torchscript/module_source.h"

namespace latent_diffusion {

template <>
struct HandleName<ModuleSource> {
  static constexpr const char* value = "module";
};

template <>
struct HandleName<Executable> {
  static constexpr const char* value = "executable";
};

namespace {

// Far deeper than any network, and far from the end of the stack. A cycle would be infinitely deep.
constexpr int kDeepest = 64;

ModuleSpec ToSpec(const Napi::Value& value, int depth = 0) {
  if (depth > kDeepest) {
    throw CodedError("ERR_INVALID_ARGUMENT", "A module's specification is nested too deeply");
  }
  if (!value.IsObject())
    throw CodedError("ERR_INVALID_ARGUMENT", "Expected a module's specification");
  const auto object = value.As<Napi::Object>();
  ModuleSpec spec{ToString(object.Get("name")), ToString(object.Get("source")), {}, {}};
  const auto pairs = [&object](const char* name, const auto& add) {
    for (const Napi::Value& pair : ToElements(object.Get(name))) {
      if (!pair.IsArray())
        throw CodedError("ERR_INVALID_ARGUMENT", std::string("Expected pairs in ") + name);
      add(ToString(pair.As<Napi::Array>().Get(0U)), pair.As<Napi::Array>().Get(1U));
    }
  };
  pairs("parameters", [&spec](std::string name, const Napi::Value& shape) {
    spec.parameters.emplace_back(std::move(name), ToShape(shape));
  });
  pairs("children", [&spec, depth](std::string name, const Napi::Value& child) {
    spec.children.push_back({std::move(name), ToSpec(child, depth + 1)});
  });
  return spec;
}

Napi::Value FromSource(Napi::Env env, const std::shared_ptr<ModuleSource>& source) {
  return MakeHandle(env, source, 0);
}

std::vector<Weight> ToOptionalWeights(const Napi::Value& value) {
  return value.IsNull() ? std::vector<Weight>() : ToWeights(value);
}

Napi::Value ModuleDefine(const Napi::CallbackInfo& info) {
  const auto work = [spec = ToSpec(info[0])] { return ModuleSource::Define(spec); };
  return RunAsync(info.Env(), c10::kCPU, work, FromSource);
}

Napi::Value ModuleLoad(const Napi::CallbackInfo& info) {
  const auto work = [path = ToPath(info[0])] { return ModuleSource::Load(path); };
  return RunAsync(info.Env(), c10::kCPU, work, FromSource);
}

Napi::Value ModuleInfo(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto source = FromHandle<ModuleSource>(info[0]);
  auto methods = Napi::Array::New(env);
  for (const std::string& method : source->methods()) methods.Set(methods.Length(), method);
  auto parameters = Napi::Array::New(env);
  for (const ParameterInfo& parameter : source->parameters()) {
    auto entry = Napi::Object::New(env);
    entry.Set("name", parameter.name);
    entry.Set("shape", FromShape(env, parameter.shape));
    entry.Set("dtype", DtypeName(parameter.dtype));
    parameters.Set(parameters.Length(), entry);
  }
  auto result = Napi::Object::New(env);
  result.Set("methods", methods);
  result.Set("parameters", parameters);
  result.Set("bakedDevice", source->baked_device()
                                ? Napi::String::New(env, source->baked_device()->str())
                                : env.Null());
  result.Set("bakedDtype", source->baked_dtype()
                               ? Napi::String::New(env, DtypeName(*source->baked_dtype()))
                               : env.Null());
  return result;
}

Napi::Value ModuleDerive(const Napi::CallbackInfo& info) {
  if (!info[2].IsObject())
    throw CodedError("ERR_INVALID_ARGUMENT", "Expected an object of options");
  const auto wanted = info[2].As<Napi::Object>();
  const Placement placement{ToDevice(wanted.Get("device")), ToOptionalDtype(wanted.Get("dtype")),
                            ToBool(wanted.Get("optimize"))};
  const auto work = [source = FromHandle<ModuleSource>(info[0]),
                     weights = ToOptionalWeights(info[1]), placement] {
    return std::make_shared<Executable>(*source, weights, placement);
  };
  return RunAsync(info.Env(), placement.device, work,
                  [](Napi::Env env, const std::shared_ptr<Executable>& executable) {
                    return MakeHandle(env, executable,
                                      executable->device().is_cpu() ? executable->bytes() : 0);
                  });
}

Napi::Value ModuleSave(const Napi::CallbackInfo& info) {
  const auto work = [source = FromHandle<ModuleSource>(info[0]),
                     weights = ToOptionalWeights(info[1]), path = ToPath(info[2]),
                     dtype = ToOptionalDtype(info[3])] {
    SaveModule(*source, weights, path, dtype);
    return true;
  };
  return RunAsync(info.Env(), c10::kCPU, work, [](Napi::Env env, bool) { return env.Undefined(); });
}

Napi::Value ModuleForward(const Napi::CallbackInfo& info) {
  const auto executable = FromHandle<Executable>(info[0]);
  const std::string method = ToString(info[1]);
  torch::jit::Stack arguments;
  PushArguments(executable->Schema(method), 1, info[2], arguments);
  auto cancel = info[3].IsNull() ? nullptr : FromHandle<CancelFlag>(info[3]);
  Turn turn{std::move(cancel), executable.get(), /*is_limited=*/true};
  const auto work = [executable, method, arguments] { return executable->Run(method, arguments); };
  return RunAsync(info.Env(), executable->device(), work, FromIValue, std::move(turn));
}

}  // namespace

void ExportModule(Napi::Env env, Napi::Object exports) {
  ExportFunction<ModuleDefine>(env, exports, "moduleDefine");
  ExportFunction<ModuleLoad>(env, exports, "moduleLoad");
  ExportFunction<ModuleInfo>(env, exports, "moduleInfo");
  ExportFunction<ModuleDerive>(env, exports, "moduleDerive");
  ExportFunction<ModuleSave>(env, exports, "moduleSave");
  ExportFunction<ModuleForward>(env, exports, "moduleForward");
}

}  // namespace latent_diffusion
