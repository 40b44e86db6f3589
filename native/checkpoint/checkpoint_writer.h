// Writes a header and then the bytes of tensors, with one tensor in memory at a time. Thread: an
// executor.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "checkpoint/weight.h"

namespace latent_diffusion {

// Creates `path`, which must not exist, and flushes it to the disk. Floating tensors are cast to
// `dtype` if one is given. Throws ERR_IO with the system's reason; the caller removes the
// unfinished file.
void WriteCheckpoint(const std::string& path, const std::vector<uint8_t>& header,
                     const std::vector<Weight>& weights, std::optional<c10::ScalarType> dtype);

}  // namespace latent_diffusion
