#include "kernels/library.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <memory>

#include "kernels/attention/attention.h"
#include "kernels/codes/nearest_codes.h"
#include "kernels/convolution/amx_convolution.h"
#include "kernels/convolution/direct_convolution.h"
#include "kernels/convolution/winograd.h"
#include "kernels/norm/group_norm.h"

namespace latent_diffusion {
namespace {

// Lives as long as LibTorch, which is as long as the process.
torch::Library& KeepLibrary(torch::Library::Kind kind, std::optional<c10::DispatchKey> key) {
  return *std::make_unique<torch::Library>(kind, "latent_diffusion", key, __FILE__, __LINE__)
              .release();
}

bool Register() {
  if (c10::Dispatcher::singleton().findOp({"latent_diffusion::winograd_conv2d", ""})) return false;
  torch::Library& schemas = KeepLibrary(torch::Library::DEF, std::nullopt);
  schemas.def(
      "winograd_conv2d(Tensor input, Tensor packed, Tensor? bias, Tensor? residual, int "
      "out_channels) -> Tensor");
  schemas.def(
      "direct_conv2d(Tensor input, Tensor packed, Tensor? bias, Tensor? residual, int in_channels, "
      "int out_channels, int side, int stride, int padding) -> Tensor");
  schemas.def(
      "group_norm(Tensor input, int groups, Tensor? weight, Tensor? bias, float eps, bool silu) -> "
      "Tensor");
  schemas.def(
      "amx_conv2d(Tensor input, Tensor packed, Tensor? bias, Tensor? residual, int in_channels, "
      "int out_channels, int stride, int groups, Tensor? norm_weight, Tensor? norm_bias, float "
      "eps, "
      "bool silu) -> Tensor");
  schemas.def(
      "amx_linear(Tensor input, Tensor packed, Tensor? bias, int in_channels, int out_channels) "
      "-> Tensor");
  schemas.def("nearest_codes(Tensor z, Tensor codes) -> Tensor");
  schemas.def("attention(Tensor q, Tensor k, Tensor v, float? scale) -> Tensor");
  torch::Library& kernels = KeepLibrary(torch::Library::IMPL, c10::DispatchKey::CPU);
  kernels.impl("winograd_conv2d", WinogradConvolution);
  kernels.impl("direct_conv2d", DirectConvolution);
  kernels.impl("group_norm", GroupNorm);
  kernels.impl("amx_conv2d", AmxConvolution);
  kernels.impl("amx_linear", AmxLinear);
  kernels.impl("nearest_codes", NearestCodes);
  kernels.impl("attention", Attention);
  return true;
}

}  // namespace

bool RegisterOperators() {
  static const bool registered = Register();
  return registered;
}

}  // namespace latent_diffusion
