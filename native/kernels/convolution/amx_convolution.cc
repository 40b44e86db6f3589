#include "kernels/convolution/amx_convolution.h"

#include <ATen/ops/empty.h>

#include <vector>

#include "kernels/convolution/amx_calculation.h"
#include "kernels/convolution/amx_kernels.h"
#include "kernels/convolution/epilogue.h"
#include "kernels/divide_up.h"
#include "kernels/norm/group_norm.h"

namespace latent_diffusion {
namespace {

// A TorchScript file may call the operators too, with any weights.
void CheckPacked(const at::Tensor& input, int64_t channels, const at::Tensor& packed,
                 int64_t in_channels, int64_t out_channels) {
  const int64_t parts = input.scalar_type() == at::kFloat ? 2 : 1;
  TORCH_CHECK(input.scalar_type() == at::kFloat || input.scalar_type() == at::kBFloat16,
              "Expected an input in float32 or bfloat16, but received ", input.scalar_type());
  TORCH_CHECK(
      FindAmxKernels() != nullptr && packed.scalar_type() == at::kBFloat16 &&
          packed.is_contiguous() && packed.dim() == 6 && packed.size(3) == parts &&
          (packed.size(2) == 9 || packed.size(2) == 4 || packed.size(2) == 1) &&
          packed.size(4) == kTileDepth && packed.size(5) == kAmxPanel && out_channels > 0 &&
          packed.size(0) == DivideUp(out_channels, kAmxPanel) * (packed.size(2) == 4 ? 4 : 1),
      "Expected weights that were packed in this process for ", input.scalar_type(), " and ",
      out_channels, " channels");
  TORCH_CHECK(channels == in_channels, "Expected an input of ", in_channels,
              " channels, but received ", channels);
  TORCH_CHECK(channels > 0 && DivideUp(channels, kTileDepth) == packed.size(1),
              "Expected weights for ", channels, " channels");
}

}  // namespace

at::Tensor AmxConvolution(const at::Tensor& input, const at::Tensor& packed,
                          const std::optional<at::Tensor>& bias,
                          const std::optional<at::Tensor>& residual, int64_t in_channels,
                          int64_t out_channels, int64_t stride, int64_t groups,
                          const std::optional<at::Tensor>& norm_weight,
                          const std::optional<at::Tensor>& norm_bias, double eps, bool silu) {
  if (input.dim() == 3) {
    // GroupNormScales needs a batch.
    const at::Tensor normal =
        groups > 0 ? GroupNorm(input, groups, norm_weight, norm_bias, eps, silu) : input;
    return ConvolvePicture(normal, residual, [&](const at::Tensor& batch) {
      return AmxConvolution(batch, packed, bias, {}, in_channels, out_channels, stride, 0, {}, {},
                            eps, silu);
    });
  }
  TORCH_CHECK(input.dim() == 4, "Expected an input of 4 dimensions, but received ", input.sizes());
  CheckPacked(input, input.size(1), packed, in_channels, out_channels);
  TORCH_CHECK(stride == 1 || (stride == 2 && packed.size(2) == 9),
              "Expected a stride of 1, or of 2 with 3 x 3, but received ", stride);
  const at::Tensor x = input.contiguous(c10::MemoryFormat::ChannelsLast);
  const int64_t scale = packed.size(2) == 4 ? 2 : 1;
  const int64_t height = DivideUp(x.size(2) * scale, stride);
  const int64_t width = DivideUp(x.size(3) * scale, stride);
  const at::Tensor output = at::empty({x.size(0), out_channels, height, width},
                                      x.options().memory_format(c10::MemoryFormat::ChannelsLast));
  const AmxGeometry geometry{x.size(0), x.size(1), x.size(2),      x.size(3), out_channels,
                             height,    width,     packed.size(2), stride,    scale};
  return ComputeAndAdd(output, bias, residual, [&](const Epilogue& epilogue) {
    AmxCalculation calculation(geometry, x, packed);
    at::Tensor scales;
    if (groups > 0) {
      scales = GroupNormScales(x, groups, norm_weight, norm_bias, eps);
      calculation.SetNorm(scales, silu);
    }
    calculation.Run(epilogue);
  });
}

at::Tensor AmxLinear(const at::Tensor& input, const at::Tensor& packed,
                     const std::optional<at::Tensor>& bias, int64_t in_channels,
                     int64_t out_channels) {
  TORCH_CHECK(input.dim() > 0, "Expected an input of at least 1 dimension");
  CheckPacked(input, input.size(-1), packed, in_channels, out_channels);
  TORCH_CHECK(packed.size(2) == 1, "Expected a linear layer's weights");
  const at::Tensor x = input.contiguous();
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = out_channels;
  const int64_t rows = x.numel() / x.size(-1);
  const at::Tensor output = at::empty({rows, out_channels}, x.options());
  if (rows == 0) return output.view(shape);
  // The rows become a column of pixels.
  const AmxGeometry geometry{1, x.size(-1), rows, 1, out_channels, rows, 1, 1, 1, 1};
  const auto compute = [&](const Epilogue& epilogue) {
    AmxCalculation(geometry, x, packed).Run(epilogue);
  };
  return ComputeAndAdd(output, bias, {}, compute).view(shape);
}

}  // namespace latent_diffusion
