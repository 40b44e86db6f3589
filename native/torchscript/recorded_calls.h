// Calls on a CUDA device, recorded once for each method and shape and then replayed: one launch
// in place of hundreds, which take longer than small pictures do. Thread: the executor of its
// device.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <ATen/core/stack.h>
#include <c10/core/Device.h>
#include <c10/core/Stream.h>

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "torchscript/cuda_graph.h"

namespace latent_diffusion {

class RecordedCalls {
 public:
  using Call = std::function<c10::IValue(torch::jit::Stack)>;

  // Null where nothing is to be recorded: it is asked for by LATENT_DIFFUSION_CUDA_GRAPHS=1.
  static std::unique_ptr<RecordedCalls> For(const c10::Device& device);

  // What `call` makes of the arguments. The first time a shape is called as it is, since it may
  // have come for once; the second time it is recorded. What cannot be recorded, because it waits
  // for the device or takes and gives more than tensors, is called as it is ever after.
  c10::IValue Run(const std::string& method, const torch::jit::Stack& arguments, const Call& call);

 private:
  enum class State { kSeen, kRecorded, kRefused };

  // A graph reads and writes the same memory every time: what comes is copied in, and the result
  // out.
  struct Recording {
    std::string key;
    State state = State::kSeen;
    std::unique_ptr<CudaGraph> graph;
    std::vector<at::Tensor> inputs;
    at::Tensor output;
  };

  explicit RecordedCalls(const c10::Device& device);
  Recording* Find(const std::string& key);
  bool Record(Recording& recording, const torch::jit::Stack& arguments, const Call& call) const;
  static at::Tensor Replay(const Recording& recording, const torch::jit::Stack& arguments);

  const c10::Device device_;
  // Recorded on a stream of its own, since the default one cannot be.
  const c10::Stream stream_;
  // The last used first. One pool serves all: they run one after another, and nothing that lies in
  // it is needed after a call.
  std::list<Recording> recordings_;
};

}  // namespace latent_diffusion
