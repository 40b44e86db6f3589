// Makes LibTorch take the memory of large CPU tensors from a cache of pages.
#pragma once

namespace latent_diffusion {

#ifdef __linux__
// Replaces LibTorch's own CPU allocator for the rest of the process. An allocator that somebody
// else has set, such as another copy of this addon, stays. Thread: the one that loads the addon.
void UseCachingAllocator();

// Returns to the system what is kept for later tensors. Thread: any.
void ReleaseCachedMemory();
#else
// LibTorch's own allocator serves all requests.
inline void UseCachingAllocator() {}
inline void ReleaseCachedMemory() {}
#endif

}  // namespace latent_diffusion
