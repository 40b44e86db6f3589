// Has LibTorch take the memory of large CPU tensors from a cache of pages.
#pragma once

namespace latent_diffusion {

#ifdef __linux__
// Takes the place of LibTorch's own CPU allocator, for good. An allocator that somebody else has
// set, such as another copy of this addon, stays. Thread: the one that loads the addon.
void UseCachingAllocator();

// Returns to the system what is kept for tensors to come. Thread: any.
void ReleaseCachedMemory();
#else
// LibTorch's own allocator serves alone.
inline void UseCachingAllocator() {}
inline void ReleaseCachedMemory() {}
#endif

}  // namespace latent_diffusion
