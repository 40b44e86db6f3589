// torch.ops.latent_diffusion.*: what the graph passes put in the place of stock operators.
// Thread: any.
#pragma once

namespace latent_diffusion {

// Registers the operators, once. False where another copy of this addon has done so: its operators,
// perhaps of another version, are not to be relied on, and registering a name twice is an error.
bool RegisterOperators();

}  // namespace latent_diffusion
