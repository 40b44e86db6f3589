// LibTorch's intra-op threads, which belong to the thread that computes. Thread: the one concerned.
#pragma once

namespace latent_diffusion {

// Gives the calling thread this many threads of its own. They start when an operator needs them; if
// the system then refuses, OpenMP ends the process.
void SetOwnThreads(int count);

// The same, and starts them. Throws ERR_OUT_OF_MEMORY if the system refuses; the earlier number
// then stays.
void StartOwnThreads(int count);

}  // namespace latent_diffusion
