#include "torchscript/operator_profile.h"

#include <ATen/record_function.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <sstream>

namespace latent_diffusion {
namespace {

using Clock = std::chrono::steady_clock;

std::mutex mutex;
std::map<std::string, OperatorTime> totals;
std::optional<at::CallbackHandle> handle;

// The operator that runs on this thread, and those that called it.
struct Running : at::ObserverContext {
  std::string name;
  Clock::time_point begun;
  Clock::duration inner{};
  Running* outer = nullptr;
};
thread_local Running* innermost = nullptr;

std::string Describe(const at::RecordFunction& function) {
  std::ostringstream name;
  name << function.name();
  for (const c10::IValue& input : function.inputs()) {
    if (!input.isTensor() || !input.toTensor().defined()) continue;
    name << ' ' << input.toTensor().sizes();
    break;
  }
  return name.str();
}

std::unique_ptr<at::ObserverContext> Begin(const at::RecordFunction& function) {
  auto running = std::make_unique<Running>();
  // The name is made now, because the inputs are gone when the operator ends.
  running->name = Describe(function);
  running->outer = innermost;
  innermost = running.get();
  running->begun = Clock::now();
  return running;
}

void End(const at::RecordFunction& /*function*/, at::ObserverContext* context) {
  const auto* const running = static_cast<Running*>(context);
  const Clock::duration whole = Clock::now() - running->begun;
  innermost = running->outer;
  if (innermost != nullptr) innermost->inner += whole;
  const std::chrono::duration<double, std::milli> own = whole - running->inner;
  const std::lock_guard lock(mutex);
  OperatorTime& total =
      totals.try_emplace(running->name, OperatorTime{running->name, 0, 0}).first->second;
  total.calls++;
  total.milliseconds += own.count();
}

}  // namespace

void StartOperatorProfile() {
  const std::lock_guard lock(mutex);
  totals.clear();
  if (handle) return;
  handle = at::addGlobalCallback(
      at::RecordFunctionCallback(Begin, End).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
}

std::vector<OperatorTime> StopOperatorProfile() {
  const std::lock_guard lock(mutex);
  if (handle) at::removeCallback(*handle);
  handle.reset();
  std::vector<OperatorTime> result;
  result.reserve(totals.size());
  for (const auto& [name, total] : totals) result.push_back(total);
  totals.clear();
  std::sort(result.begin(), result.end(), [](const OperatorTime& a, const OperatorTime& b) {
    return a.milliseconds > b.milliseconds;
  });
  return result;
}

}  // namespace latent_diffusion
