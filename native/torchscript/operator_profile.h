// How long each kind of operator takes, without the operators that it calls. Thread: any; what ran
// meanwhile on any thread is counted.
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

// Starts counting, from nothing. While it counts, operators cost a few microseconds more.
void StartOperatorProfile();

// Stops, and returns what was counted, the largest first; empty if nothing was started.
std::vector<OperatorTime> StopOperatorProfile();

}  // namespace latent_diffusion
