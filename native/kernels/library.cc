// torch.ops.latent_diffusion.*: what the graph passes put in the place of stock operators.
// Registered as the addon is opened; it is opened once a process and stays.

#include <torch/library.h>

#include "kernels/group_norm.h"
#include "kernels/winograd.h"

TORCH_LIBRARY(latent_diffusion, library) {
  library.def(
      "winograd_conv2d(Tensor input, Tensor packed, Tensor? bias, Tensor? residual, int "
      "out_channels) -> Tensor");
  library.def(
      "group_norm(Tensor input, int groups, Tensor? weight, Tensor? bias, float eps, bool silu) -> "
      "Tensor");
}

TORCH_LIBRARY_IMPL(latent_diffusion, CPU, library) {
  library.impl("winograd_conv2d", latent_diffusion::WinogradConvolution);
  library.impl("group_norm", latent_diffusion::GroupNorm);
}
