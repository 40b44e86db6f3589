#include "torchscript/passes/passes.h"

#include <torch/csrc/jit/ir/ir.h>

#include <cstdlib>
#include <sstream>
#include <string>
#include <unordered_set>

#include "kernels/library.h"
#include "torchscript/passes/graph_tools.h"

namespace latent_diffusion {
namespace {

struct Pass {
  const char* name;
  void (*run)(const Graphs&, c10::ScalarType);
  // Passes without this are only for our own kernels.
  bool for_all_devices = false;
};

constexpr Pass kPasses[] = {
    // The passes after this one no longer see what AMX took.
    {"amx", UseAmx},
    {"winograd", UseWinograd},
    {"direct", UseDirect},
    {"group-norm", FuseGroupNorms},
    {"norms", FuseNorms},
    {"addends", FuseAddends},
    {"nearest-codes", SearchNearestCodes},
    {"attention", ReplaceAttention},
    {"layouts", LayOutWeights, /*for_all_devices=*/true},
};

// LATENT_DIFFUSION_WITHOUT_PASSES="winograd,...": for tests and measurements.
bool IsSwitchedOff(const std::string& name) {
  const char* const names = std::getenv("LATENT_DIFFUSION_WITHOUT_PASSES");
  std::istringstream list(names != nullptr ? names : "");
  for (std::string word; std::getline(list, word, ',');) {
    if (word == name) return true;
  }
  return false;
}

}  // namespace

void Optimize(const Graphs& graphs, c10::ScalarType dtype, const c10::Device& device) {
  if (!FreeFromLayout(graphs)) return;
  const bool own_kernels = device.is_cpu() && RegisterOperators();
  for (const Pass& pass : kPasses) {
    if ((own_kernels || pass.for_all_devices) && !IsSwitchedOff(pass.name)) pass.run(graphs, dtype);
  }
}

int64_t ConstantBytes(const Graphs& graphs) {
  std::unordered_set<const c10::TensorImpl*> seen;
  int64_t bytes = 0;
  for (const auto& graph : graphs) {
    VisitNodes(graph->block(), [&](torch::jit::Node* node) {
      if (node->kind() != c10::prim::Constant) return;
      const auto tensor = ConstantTensor(node->output());
      if (tensor && seen.insert(tensor->unsafeGetTensorImpl()).second)
        bytes += static_cast<int64_t>(tensor->nbytes());
    });
  }
  return bytes;
}

}  // namespace latent_diffusion
