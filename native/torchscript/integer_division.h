// Integer division that cannot end the process. Thread: any.
#pragma once

namespace latent_diffusion {

// LibTorch's TorchScript operators on two ints divide whatever they are given; the processor
// answers a division by zero, or of the smallest integer by -1, with a signal that ends the
// process, as early as constants are folded at load. From now on such a division is an error. Once
// per process.
void GuardIntegerDivision();

}  // namespace latent_diffusion
