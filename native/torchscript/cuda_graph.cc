#include "torchscript/cuda_graph.h"

#ifndef _WIN32
#include <dlfcn.h>
#endif

#include <optional>

namespace latent_diffusion {

// Member functions, as the Itanium C++ ABI calls them: the object comes first.
struct CudaGraphFunctions {
  void (*construct)(void* graph, bool keep_graph);
  void (*destroy)(void* graph);
  void (*begin)(void* graph, c10::MempoolId_t pool, int capture_mode);
  void (*end)(void* graph);
  void (*replay)(void* graph);
  c10::MempoolId_t (*pool)(void* graph);
};

namespace {

// cudaStreamCaptureModeThreadLocal: what other threads do meanwhile, such as allocating, is their
// own affair.
constexpr int kThreadLocal = 1;

#ifdef _WIN32
std::optional<CudaGraphFunctions> FindFunctions() { return std::nullopt; }
#else
template <typename Function>
bool Find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

std::optional<CudaGraphFunctions> FindFunctions() {
  // The one that the loader opened, or none.
  void* const library = dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_NOLOAD);
  if (library == nullptr) return std::nullopt;
  CudaGraphFunctions found{};
  const bool complete =
      Find(library, "_ZN2at4cuda9CUDAGraphC1Eb", found.construct) &&
      Find(library, "_ZN2at4cuda9CUDAGraphD1Ev", found.destroy) &&
      Find(library, "_ZN2at4cuda9CUDAGraph13capture_beginESt4pairIyyE21cudaStreamCaptureMode",
           found.begin) &&
      Find(library, "_ZN2at4cuda9CUDAGraph11capture_endEv", found.end) &&
      Find(library, "_ZN2at4cuda9CUDAGraph6replayEv", found.replay) &&
      Find(library, "_ZN2at4cuda9CUDAGraph4poolEv", found.pool);
  return complete ? std::optional(found) : std::nullopt;
}
#endif

}  // namespace

std::unique_ptr<CudaGraph> CudaGraph::Create() {
  static const std::optional<CudaGraphFunctions> functions = FindFunctions();
  if (!functions) return nullptr;
  return std::unique_ptr<CudaGraph>(new CudaGraph(*functions));
}

CudaGraph::CudaGraph(const CudaGraphFunctions& functions) : functions_(functions) {
  functions_.construct(object_.data(), /*keep_graph=*/false);
}

CudaGraph::~CudaGraph() { functions_.destroy(object_.data()); }

void CudaGraph::Begin(c10::MempoolId_t pool) {
  functions_.begin(object_.data(), pool, kThreadLocal);
}

void CudaGraph::End() { functions_.end(object_.data()); }

void CudaGraph::Replay() { functions_.replay(object_.data()); }

c10::MempoolId_t CudaGraph::Pool() { return functions_.pool(object_.data()); }

}  // namespace latent_diffusion
