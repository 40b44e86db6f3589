// The time of each kind of operator, without the operators that it calls. Thread: any; operators of
// all threads are counted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace latent_diffusion {

struct OperatorTime {
  // "aten::silu [1, 224, 64, 64]": the operator and the shape of its first tensor.
  std::string name;
  int64_t calls;
  double milliseconds;
};

// Starts counting from zero. Meanwhile each operator costs a few microseconds more.
void StartOperatorProfile();

// Stops, and returns the counts, largest first; empty if nothing was started.
std::vector<OperatorTime> StopOperatorProfile();

}  // namespace latent_diffusion
