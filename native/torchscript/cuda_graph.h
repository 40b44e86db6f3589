// LibTorch's at::cuda::CUDAGraph without CUDA's headers, which those who build the addon need not
// have: its functions are looked up, by the names that they have in the one LibTorch version that
// the addon serves, in the library that is open. Thread: the executor of its device.
#pragma once

#include <c10/core/Allocator.h>

#include <array>
#include <cstddef>
#include <memory>

namespace latent_diffusion {

struct CudaGraphFunctions;

class CudaGraph {
 public:
  // Null where the open LibTorch has no CUDA, or not under these names.
  static std::unique_ptr<CudaGraph> Create();
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;
  ~CudaGraph();

  // What is launched on the current stream from Begin to End is recorded and not run; memory comes
  // from `pool`, or for {0, 0} from a new one. The stream must not be the default one. May throw;
  // after Begin, End must follow, also when something else threw.
  void Begin(c10::MempoolId_t pool);
  void End();
  // Runs what was recorded, on the current stream.
  void Replay();
  c10::MempoolId_t Pool();

 private:
  explicit CudaGraph(const CudaGraphFunctions& functions);

  // Several times what LibTorch 2.13's class takes.
  static constexpr std::size_t kRoom = 8192;

  const CudaGraphFunctions& functions_;
  alignas(std::max_align_t) std::array<std::byte, kRoom> object_{};
};

}  // namespace latent_diffusion
