#include "torchscript/integer_division.h"

#include <ATen/core/ivalue.h>
#include <ATen/core/stack.h>
#include <torch/csrc/jit/runtime/operator.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace latent_diffusion {
namespace {

using torch::jit::Operation;
using torch::jit::Operator;

void CheckDivision(const torch::jit::Stack& stack) {
  const c10::IValue& dividend = torch::jit::peek(stack, 0, 2);
  const c10::IValue& divisor = torch::jit::peek(stack, 1, 2);
  if (!dividend.isInt() || !divisor.isInt()) return;
  TORCH_CHECK(divisor.toInt() != 0, "integer division or modulo by zero");
  TORCH_CHECK(dividend.toInt() != std::numeric_limits<int64_t>::min() || divisor.toInt() != -1,
              "integer division of ", dividend.toInt(), " by -1, which no int holds");
}

void Guard(const std::shared_ptr<Operator>& unguarded) {
  const c10::FunctionSchema schema = unguarded->schema();
  Operator guarded(
      toString(schema),
      [original = unguarded->getOperation()](torch::jit::Stack& stack) mutable {
        CheckDivision(stack);
        original(stack);
      },
      unguarded->aliasAnalysisKind());
  torch::jit::deregisterOperator(schema);
  torch::jit::registerOperator(std::move(guarded));
}

}  // namespace

void GuardIntegerDivision() {
  static std::once_flag once;
  std::call_once(once, [] {
    for (const char* name :
         {"aten::floordiv", "aten::remainder", "aten::divmod", "aten::__round_to_zero_floordiv"}) {
      // A copy: registering changes the list.
      const auto operators = torch::jit::getAllOperatorsFor(c10::Symbol::fromQualString(name));
      for (const auto& candidate : operators) {
        const std::string& overload = candidate->schema().overload_name();
        const bool is_scalar =
            overload.empty() && candidate->schema().arguments().size() == 2 &&
            candidate->schema().arguments()[0].type()->kind() == c10::TypeKind::NumberType;
        if (overload == "int" || is_scalar) Guard(candidate);
      }
    }
  });
}

}  // namespace latent_diffusion
