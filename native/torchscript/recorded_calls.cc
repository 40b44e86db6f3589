#include "torchscript/recorded_calls.h"

#include <ATen/ops/empty_strided.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

namespace latent_diffusion {
namespace {

// A decoder has half a dozen methods. Each recording keeps its activations' memory.
constexpr size_t kMostRecordings = 16;

// What a recording depends on; empty if the arguments are not all tensors of the device.
std::string KeyOf(const std::string& method, const torch::jit::Stack& arguments,
                  const c10::Device& device) {
  std::ostringstream key;
  key << method;
  for (const c10::IValue& argument : arguments) {
    if (!argument.isTensor() || argument.toTensor().device() != device) return {};
    const at::Tensor& tensor = argument.toTensor();
    key << ' ' << tensor.scalar_type() << tensor.sizes() << tensor.strides();
  }
  return key.str();
}

bool AreWanted() {
  const char* const wanted = std::getenv("LATENT_DIFFUSION_CUDA_GRAPHS");
  return wanted != nullptr && std::string(wanted) == "1";
}

}  // namespace

std::unique_ptr<RecordedCalls> RecordedCalls::For(const c10::Device& device) {
  if (!device.is_cuda() || !AreWanted() || CudaGraph::Create() == nullptr) return nullptr;
  return std::unique_ptr<RecordedCalls>(new RecordedCalls(device));
}

RecordedCalls::RecordedCalls(const c10::Device& device)
    : device_(device),
      stream_(c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device)) {}

c10::IValue RecordedCalls::Run(const std::string& method, const torch::jit::Stack& arguments,
                               const Call& call) {
  const std::string key = KeyOf(method, arguments, device_);
  if (key.empty()) return call(arguments);
  Recording* const known = Find(key);
  if (known == nullptr) {
    recordings_.emplace_front().key = key;
    if (recordings_.size() > kMostRecordings) recordings_.pop_back();
    return call(arguments);
  }
  if (known->state == State::kSeen && !Record(*known, arguments, call)) {
    known->graph.reset();
    known->inputs.clear();
    known->output.reset();
    known->state = State::kRefused;
  }
  if (known->state == State::kRefused) return call(arguments);
  return Replay(*known, arguments);
}

RecordedCalls::Recording* RecordedCalls::Find(const std::string& key) {
  const auto found = std::find_if(recordings_.begin(), recordings_.end(),
                                  [&key](const Recording& each) { return each.key == key; });
  if (found == recordings_.end()) return nullptr;
  recordings_.splice(recordings_.begin(), recordings_, found);
  return &recordings_.front();
}

// False where LibTorch or CUDA refuses.
bool RecordedCalls::Record(Recording& recording, const torch::jit::Stack& arguments,
                           const Call& call) const {
  const c10::impl::VirtualGuardImpl guard(device_.type());
  const auto shared = std::find_if(recordings_.begin(), recordings_.end(),
                                   [](const Recording& r) { return r.state == State::kRecorded; });
  try {
    torch::jit::Stack inputs;
    for (const c10::IValue& argument : arguments) {
      const at::Tensor& tensor = argument.toTensor();
      recording.inputs.push_back(
          at::empty_strided(tensor.sizes(), tensor.strides(), tensor.options()));
      recording.inputs.back().copy_(tensor);
      inputs.emplace_back(recording.inputs.back());
    }
    // What was copied in, and what else is on its way, lies on another stream.
    guard.synchronizeDevice(device_.index());
    const c10::StreamGuard on_own(stream_);
    // Libraries prepare themselves at their first call on a stream, in ways that cannot be
    // recorded.
    call(inputs);
    guard.synchronizeDevice(device_.index());
    recording.graph = CudaGraph::Create();
    recording.graph->Begin(shared != recordings_.end() ? shared->graph->Pool()
                                                       : c10::MempoolId_t{0, 0});
    c10::IValue output;
    try {
      output = call(inputs);
    } catch (...) {
      recording.graph->End();
      throw;
    }
    recording.graph->End();
    if (!output.isTensor()) return false;
    recording.output = output.toTensor();
  } catch (const std::exception&) {
    return false;
  }
  recording.state = State::kRecorded;
  return true;
}

at::Tensor RecordedCalls::Replay(const Recording& recording, const torch::jit::Stack& arguments) {
  for (size_t i = 0; i < arguments.size(); i++) {
    at::Tensor input = recording.inputs[i];
    input.copy_(arguments[i].toTensor(), /*non_blocking=*/true);
  }
  recording.graph->Replay();
  return recording.output.clone();
}

}  // namespace latent_diffusion
