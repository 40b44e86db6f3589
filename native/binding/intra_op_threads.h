// LibTorch's intra-op threads, which belong to the thread that computes. Thread: the one concerned.
#pragma once

namespace latent_diffusion {

// Gives the calling thread so many, for itself alone. They start when an operator wants them; then
// OpenMP ends the process where the system refuses.
void SetOwnThreads(int count);

// The same, and starts them. Throws ERR_OUT_OF_MEMORY where the system refuses: then those of
// before stay.
void StartOwnThreads(int count);

}  // namespace latent_diffusion
