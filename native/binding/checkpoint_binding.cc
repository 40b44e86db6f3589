#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <utility>

#include "binding/export_function.h"
#include "binding/exports.h"
#include "binding/promise.h"
#include "binding/values.h"
#include "binding/weights.h"
#include "checkpoint/checkpoint_writer.h"
#include "checkpoint/random_access_file.h"

namespace latent_diffusion {

std::vector<Weight> ToWeights(const Napi::Value& value) {
  std::vector<Weight> weights;
  for (const Napi::Value& element : ToElements(value)) {
    if (!element.IsArray()) {
      weights.emplace_back(ToTensor(element));
      continue;
    }
    const auto tuple = element.As<Napi::Array>();
    weights.emplace_back(StoredTensor{
        FromHandle<RandomAccessFile>(tuple.Get(0U)),
        ToDtype(tuple.Get(1U)),
        ToShape(tuple.Get(2U)),
        static_cast<uint64_t>(ToInt64(tuple.Get(3U))),
        tuple.Get(4U).IsUndefined() ? std::vector<int64_t>() : ToShape(tuple.Get(4U)),
    });
  }
  return weights;
}

namespace {

Napi::Value CheckpointOpen(const Napi::CallbackInfo& info) {
  return RunAsync(
      info.Env(), c10::kCPU,
      [path = ToPath(info[0])] { return std::make_shared<RandomAccessFile>(path); },
      [](Napi::Env env, const std::shared_ptr<RandomAccessFile>& file) {
        auto result = Napi::Object::New(env);
        result.Set("size", Napi::Number::New(env, static_cast<double>(file->size())));
        result.Set("handle", MakeHandle(env, file, 0));
        return Napi::Value(result);
      });
}

Napi::Value CheckpointRead(const Napi::CallbackInfo& info) {
  const auto file = FromHandle<RandomAccessFile>(info[0]);
  const int64_t offset = ToInt64(info[1]);
  const int64_t length = ToInt64(info[2]);
  const auto size = static_cast<int64_t>(file->size());
  if (offset < 0 || length < 0 || offset > size || length > size - offset) {
    throw CodedError("ERR_CHECKPOINT_INVALID", "A read beyond the end of the file");
  }
  const auto work = [file, offset, length] {
    at::Tensor bytes = at::empty({length}, at::TensorOptions().dtype(c10::ScalarType::Byte));
    file->Read(static_cast<uint64_t>(offset), static_cast<uint64_t>(length),
               bytes.mutable_data_ptr());
    return bytes;
  };
  return RunAsync(info.Env(), c10::kCPU, work, ArrayFromTensor);
}

Napi::Value CheckpointWrite(const Napi::CallbackInfo& info) {
  const auto work = [path = ToPath(info[0]), bytes = ToBytes(info[1]), weights = ToWeights(info[2]),
                     dtype = ToOptionalDtype(info[3])] {
    WriteCheckpoint(path, bytes, weights, dtype);
    return true;
  };
  return RunAsync(info.Env(), c10::kCPU, work, [](Napi::Env env, bool) { return env.Undefined(); });
}

}  // namespace

void ExportCheckpoint(Napi::Env env, Napi::Object exports) {
  ExportFunction<CheckpointOpen>(env, exports, "checkpointOpen");
  ExportFunction<CheckpointRead>(env, exports, "checkpointRead");
  ExportFunction<CheckpointWrite>(env, exports, "checkpointWrite");
}

}  // namespace latent_diffusion
