// torch.ops.latent_diffusion.*: what the graph passes put in the place of stock operators. Registered as the addon is
// opened; it is opened once a process and stays.

#include <torch/library.h>

#include "kernels/winograd.h"

namespace latent_diffusion {
namespace {

at::Tensor PackWinogradFor(const at::Tensor& weight, int64_t tile) {
  TORCH_CHECK(tile == 2 || tile == 4, "Expected a tile of 2 or 4, but received ", tile);
  return PackWinograd(weight, tile == 2 ? kTile2 : kTile4);
}

}  // namespace
}  // namespace latent_diffusion

TORCH_LIBRARY(latent_diffusion, library) {
  library.def("winograd_pack(Tensor weight, int tile) -> Tensor");
  library.def(
      "winograd_conv2d(Tensor input, Tensor packed, Tensor? bias, Tensor? residual, int out_channels) -> Tensor");
}

TORCH_LIBRARY_IMPL(latent_diffusion, CPU, library) {
  library.impl("winograd_pack", latent_diffusion::PackWinogradFor);
  library.impl("winograd_conv2d", latent_diffusion::WinogradConvolution);
}
