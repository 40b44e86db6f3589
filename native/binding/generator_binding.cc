#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/core/Generator.h>
#include <ATen/core/MT19937RNGEngine.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

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

// The state of a generator on the CPU as PyTorch writes it: its CPUGeneratorImplState, which no
// header declares.
struct CpuState {
  uint64_t seed;
  int32_t left;
  int32_t seeded;
  uint64_t next;
  std::array<uint64_t, at::MERSENNE_STATE_N> table;
  double normal_x;
  double normal_y;
  double normal_rho;
  int32_t normal_is_valid;
  float float_normal;
  uint8_t float_normal_is_valid;
};
static_assert(sizeof(CpuState) == 5056);

// Refuses a state that no generator can be in. LibTorch checks the length, and `left` and `next`
// one by one; of a state whose `next` lies behind what is `left`, it then reads beyond the table.
void CheckCpuState(const std::vector<uint8_t>& bytes) {
  CpuState state = {};
  // The older form lacks the cached float.
  if (bytes.size() != sizeof(CpuState) && bytes.size() != offsetof(CpuState, float_normal) + 4) {
    throw CodedError("ERR_INVALID_ARGUMENT",
                     "Expected the 5056 bytes of a generator's state on the CPU but received " +
                         std::to_string(bytes.size()));
  }
  std::memcpy(&state, bytes.data(), bytes.size());
  const auto require = [](bool holds, const char* field) {
    if (!holds) {
      throw CodedError("ERR_INVALID_ARGUMENT",
                       std::string("Not a state of a generator on the CPU: bad ") + field);
    }
  };
  const bool fresh = state.left == 1 && state.next == 0;
  const bool drawing = state.left >= 1 && state.left <= at::MERSENNE_STATE_N &&
                       state.next == static_cast<uint64_t>(at::MERSENNE_STATE_N + 1 - state.left);
  require(fresh || drawing, "left or next");
  require(state.seeded == 1, "seeded");
  require(std::all_of(state.table.begin(), state.table.end(),
                      [](uint64_t word) { return word <= 0xFFFFFFFFU; }),
          "table");
  require(state.normal_is_valid == 0 || state.normal_is_valid == 1, "normal_is_valid");
  require(state.float_normal_is_valid <= 1, "float_normal_is_valid");
  require(state.normal_is_valid == 0 ||
              (std::isfinite(state.normal_x) && std::isfinite(state.normal_y) &&
               std::isfinite(state.normal_rho)),
          "normal");
  require(state.float_normal_is_valid == 0 || std::isfinite(state.float_normal), "float_normal");
}

Napi::Value GeneratorSetState(const Napi::CallbackInfo& info) {
  const auto generator = FromHandle<at::Generator>(info[0]);
  const std::vector<uint8_t> bytes = ToBytes(info[1]);
  if (generator->device().is_cpu()) CheckCpuState(bytes);
  at::Tensor state = at::empty({static_cast<int64_t>(bytes.size())},
                               at::TensorOptions().dtype(c10::ScalarType::Byte));
  std::copy(bytes.begin(), bytes.end(), static_cast<uint8_t*>(state.mutable_data_ptr()));
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
