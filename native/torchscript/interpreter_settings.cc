#include "torchscript/interpreter_settings.h"

#include <torch/csrc/jit/passes/tensorexpr_fuser.h>
#include <torch/csrc/jit/python/update_graph_executor_opt.h>
#include <torch/csrc/jit/runtime/graph_executor.h>

#include "torchscript/integer_division.h"

namespace latent_diffusion {

void ConfigureInterpreterThread() {
  GuardIntegerDivision();
  torch::jit::setGraphExecutorOptimize(false);
  torch::jit::setTensorExprFuserEnabled(false);
  torch::jit::getProfilingMode() = false;
}

}  // namespace latent_diffusion
