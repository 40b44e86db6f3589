#include "kernels/winograd.h"

#include <ATen/Parallel.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <vector>

#include "kernels/addends.h"
#include "kernels/scratch.h"
#include "kernels/shared_work.h"

namespace latent_diffusion {
namespace {

constexpr int kMostPoints = 36;
constexpr int kMostOutputs = 16;

thread_local Scratch block_scratch;
thread_local Scratch product_scratch;

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// One call: the sizes, and where everything lies. NHWC; tiles are numbered along the batch, then
// down, then across.
class Convolution {
 public:
  Convolution(const at::Tensor& input, const at::Tensor& packed, int64_t out_channels)
      : kernels_(*FindCpuKernels()),
        tile_(packed.size(1) == 16 ? kTile2 : kTile4),
        type_(input.scalar_type() == at::kBFloat16 ? kBFloat16 : kFloat32),
        side_(tile_ == kTile2 ? 2 : 4),
        points_(packed.size(1)),
        channels_(packed.size(2)),
        out_channels_(out_channels),
        height_(input.size(2)),
        width_(input.size(3)),
        down_(DivideUp(height_, side_)),
        across_(DivideUp(width_, side_)),
        tiles_(input.size(0) * down_ * across_),
        panels_(packed.size(0)),
        // Rows a power of two apart would share few sets of the first cache.
        row_(DivideUp(channels_, 16) * 16 + 16),
        element_size_(static_cast<int64_t>(input.element_size())),
        input_(static_cast<const char*>(input.const_data_ptr())),
        packed_(packed.const_data_ptr<float>()),
        zeros_(static_cast<size_t>(channels_ * element_size_)) {}

  void SetBias(const at::Tensor& bias) {
    bias_ = bias.const_data_ptr<float>();
    bias_stride_ = bias.dim() == 2 ? out_channels_ : 0;
  }
  void SetResidual(const at::Tensor& residual) {
    residual_ = static_cast<const char*>(residual.const_data_ptr());
  }

  void Run(char* output) {
    output_ = output;
    const int64_t threads = at::get_num_threads();
    const int64_t blocks = DivideUp(tiles_, TilesInBlock());
    if (tiles_ < threads * kernels_.rows) return RunTogether(0, tiles_);
    const int64_t even = DivideUp(blocks, threads) * threads;
    ShareWork(even, threads, [&](const auto& take) {
      while (const auto block = take())
        RunBlock(tiles_ * *block / even, tiles_ * (*block + 1) / even);
    });
  }

 private:
  // The transformed tiles should stay in a core's second cache, while the weights, which pass by
  // once a block, should be used for many tiles.
  int64_t TilesInBlock() const {
    constexpr int64_t kCacheBytes = 768 << 10;
    const int64_t fit = kCacheBytes / static_cast<int64_t>(sizeof(float)) / (points_ * row_);
    return std::clamp(fit / kernels_.rows * kernels_.rows, 2 * kernels_.rows, 4 * kernels_.rows);
  }

  // One thread does all of a block.
  void RunBlock(int64_t first, int64_t last) const {
    const int64_t count = last - first;
    if (count == 0) return;
    float* const block = block_scratch.Floats(static_cast<size_t>(points_ * count * row_));
    for (int64_t tile = first; tile < last; tile++)
      TransformIn(tile, block + (tile - first) * row_, count * row_);
    for (int64_t panel = 0; panel < panels_; panel++) RunPanel(panel, first, count, block);
  }

  // Few tiles: the threads share the weights instead, which are what must come from memory.
  void RunTogether(int64_t first, int64_t last) const {
    const int64_t count = last - first;
    float* const block = block_scratch.Floats(static_cast<size_t>(points_ * count * row_));
    at::parallel_for(first, last, 1, [&](int64_t begin, int64_t end) {
      for (int64_t tile = begin; tile < end; tile++)
        TransformIn(tile, block + (tile - first) * row_, count * row_);
    });
    ShareWork(panels_, at::get_num_threads(), [&](const auto& take) {
      while (const auto panel = take()) RunPanel(*panel, first, count, block);
    });
  }

  void TransformIn(int64_t tile, float* out, int64_t out_stride) const {
    std::array<const void*, kMostPoints> pixels;
    const int64_t patch = side_ + 2;
    const int64_t image = tile / (down_ * across_);
    const int64_t top = tile / across_ % down_ * side_ - 1;
    const int64_t left = tile % across_ * side_ - 1;
    for (int64_t p = 0; p < points_; p++) {
      const int64_t y = top + p / patch;
      const int64_t x = left + p % patch;
      const bool inside = y >= 0 && y < height_ && x >= 0 && x < width_;
      pixels[p] = inside ? input_ + ((image * height_ + y) * width_ + x) * channels_ * element_size_
                         : zeros_.data();
    }
    kernels_.transform_input[tile_][type_]({pixels.data(), channels_, out, out_stride});
  }

  void RunPanel(int64_t panel, int64_t first, int64_t count, const float* block) const {
    const int64_t columns = kernels_.panel;
    float* const products = product_scratch.Floats(static_cast<size_t>(points_ * count * columns));
    const float* const weights = packed_ + panel * points_ * channels_ * columns;
    for (int64_t p = 0; p < points_; p++) {
      kernels_.multiply(block + p * count * row_, row_, weights + p * channels_ * columns,
                        channels_, products + p * count * columns, columns, count);
    }
    for (int64_t i = 0; i < count; i++)
      TransformOut(panel, first + i, products + i * columns, count * columns);
  }

  void TransformOut(int64_t panel, int64_t tile, const float* in, int64_t in_stride) const {
    std::array<void*, kMostOutputs> pixels;
    std::array<const void*, kMostOutputs> residuals;
    const int64_t image = tile / (down_ * across_);
    const int64_t top = tile / across_ % down_ * side_;
    const int64_t left = tile % across_ * side_;
    const int64_t column = panel * kernels_.panel;
    for (int64_t p = 0; p < side_ * side_; p++) {
      const int64_t y = top + p / side_;
      const int64_t x = left + p % side_;
      const bool inside = y < height_ && x < width_;
      const int64_t offset =
          (((image * height_ + y) * width_ + x) * out_channels_ + column) * element_size_;
      pixels[p] = inside ? output_ + offset : nullptr;
      residuals[p] = inside && residual_ != nullptr ? residual_ + offset : nullptr;
    }
    const float* const bias = bias_ != nullptr ? bias_ + image * bias_stride_ + column : nullptr;
    kernels_.transform_output[tile_][type_](
        {in, in_stride, std::min(kernels_.panel, out_channels_ - column), bias,
         residual_ != nullptr ? residuals.data() : nullptr, pixels.data()});
  }

  const CpuKernels& kernels_;
  const WinogradTile tile_;
  const ElementType type_;
  const int64_t side_, points_, channels_, out_channels_, height_, width_, down_, across_, tiles_,
      panels_, row_;
  const int64_t element_size_;
  const char* const input_;
  const float* const packed_;
  const std::vector<char> zeros_;
  const float* bias_ = nullptr;
  int64_t bias_stride_ = 0;
  const char* residual_ = nullptr;
  char* output_ = nullptr;
};

}  // namespace

at::Tensor WinogradConvolution(const at::Tensor& input, const at::Tensor& packed,
                               const std::optional<at::Tensor>& bias,
                               const std::optional<at::Tensor>& residual, int64_t out_channels) {
  if (input.dim() == 3) {
    const at::Tensor image =
        WinogradConvolution(input.unsqueeze(0), packed, bias, {}, out_channels).squeeze(0);
    return residual ? at::add(image, *residual) : image;
  }
  // A TorchScript file may call the operator too, with any weights.
  const CpuKernels* const kernels = FindCpuKernels();
  TORCH_CHECK(kernels != nullptr && packed.scalar_type() == at::kFloat && packed.is_contiguous() &&
                  packed.dim() == 4 && (packed.size(1) == 16 || packed.size(1) == 36) &&
                  packed.size(3) == kernels->panel && out_channels > 0 &&
                  packed.size(0) == DivideUp(out_channels, kernels->panel),
              "Expected weights that were packed in this process for ", out_channels, " channels");
  TORCH_CHECK(input.dim() == 4 && input.size(1) == packed.size(2), "Expected an input of ",
              packed.size(2), " channels, but received one of shape ", input.sizes());
  TORCH_CHECK(input.scalar_type() == at::kFloat || input.scalar_type() == at::kBFloat16,
              "Expected an input in float32 or bfloat16, but received ", input.scalar_type());
  const at::Tensor x = input.contiguous(c10::MemoryFormat::ChannelsLast);
  at::Tensor output = at::empty({x.size(0), out_channels, x.size(2), x.size(3)},
                                x.options().memory_format(c10::MemoryFormat::ChannelsLast));
  if (output.numel() == 0) return output;
  Convolution convolution(x, packed, out_channels);
  const Addends addends = PrepareAddends(bias, residual, output);
  if (addends.bias.defined()) convolution.SetBias(addends.bias);
  if (addends.residual.defined()) convolution.SetResidual(addends.residual);
  convolution.Run(static_cast<char*>(output.mutable_data_ptr()));
  return addends.rest.defined() ? at::add(output, addends.rest) : output;
}

}  // namespace latent_diffusion
