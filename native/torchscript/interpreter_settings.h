// The TorchScript interpreter's settings. Thread: the executor that calls it.
#pragma once

namespace latent_diffusion {

// Has the interpreter run graphs as they stand: our own passes have been over them, the profiling
// executor makes first runs seconds slow, and what fuses operators changes bits.
void ConfigureInterpreterThread();

}  // namespace latent_diffusion
