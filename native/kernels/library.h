// torch.ops.latent_diffusion.*: the operators that graph passes use instead of stock ones. Thread:
// any.
#pragma once

namespace latent_diffusion {

// Registers the operators once. Returns false if another copy of this addon has registered them:
// they may be of another version, and registering a name twice is an error.
bool RegisterOperators();

}  // namespace latent_diffusion
