// The TorchScript interpreter's settings. Thread: the executor that calls it.
#pragma once

namespace latent_diffusion {

// Makes the interpreter run graphs unchanged. Our own passes have optimised them. The profiling
// executor would make the first runs seconds slower, and fusing operators would change bits.
void ConfigureInterpreterThread();

}  // namespace latent_diffusion
