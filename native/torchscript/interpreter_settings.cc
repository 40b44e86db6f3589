#include "torchscript/interpreter_settings.h"

#include <torch/csrc/jit/passes/tensorexpr_fuser.h>
#include <torch/csrc/jit/python/update_graph_executor_opt.h>
#include <torch/csrc/jit/runtime/graph_executor.h>

namespace latent_diffusion {

void ConfigureInterpreterThread() {
  torch::jit::setGraphExecutorOptimize(false);
  torch::jit::setTensorExprFuserEnabled(false);
  torch::jit::getProfilingMode() = false;
}

}  // namespace latent_diffusion
