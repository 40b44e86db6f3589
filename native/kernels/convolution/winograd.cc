#include "kernels/convolution/winograd.h"

#ifndef _WIN32
#include <unistd.h>
#endif

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <vector>

#include "kernels/convolution/epilogue.h"
#include "kernels/divide_up.h"
#include "kernels/scratch.h"
#include "kernels/shared_work.h"

namespace latent_diffusion {
namespace {

constexpr int kMostPoints = 36;
constexpr int kMostOutputs = 16;
constexpr int64_t kLeastTiles = 48;
constexpr int64_t kMostTiles = 96;

thread_local Scratch block_scratch;
thread_local Scratch product_scratch;

// Of one core. No result depends on it.
int64_t SecondCacheBytes() {
  constexpr int64_t kUsual = 1 << 20;
#ifdef _SC_LEVEL2_CACHE_SIZE
  static const int64_t bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  // Virtual machines may report 0.
  if (bytes > 0) return std::clamp<int64_t>(bytes, 256 << 10, 4 << 20);
#endif
  return kUsual;
}

// One call: sizes and memory layout. NHWC; tiles are numbered along the batch, then down, then
// across.
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
        // If rows were a power of two apart, they would share few sets of the first-level cache.
        row_(DivideUp(channels_, 16) * 16 + 16),
        element_size_(static_cast<int64_t>(input.element_size())),
        input_(static_cast<const char*>(input.const_data_ptr())),
        packed_(packed.const_data_ptr<float>()),
        zeros_(static_cast<size_t>(channels_ * element_size_)) {}

  void Run(const Epilogue& epilogue) {
    epilogue_ = epilogue;
    const int64_t threads = at::get_num_threads();
    const int64_t blocks = DivideUp(tiles_, TilesInBlock());
    if (tiles_ < threads * kLeastTiles && tiles_ <= 2 * kMostTiles && panels_ >= threads)
      return RunTogether();
    const int64_t even = DivideUp(blocks, threads) * threads;
    ShareWork(even, threads, [&](const auto& take) {
      while (const auto block = take())
        RunBlock(tiles_ * *block / even, tiles_ * (*block + 1) / even);
    });
  }

 private:
  // Weights are read once per block and should be used for many tiles. The transformed tiles should
  // stay in a core's second-level cache.
  int64_t TilesInBlock() const {
    const int64_t fit =
        SecondCacheBytes() * 3 / 8 / static_cast<int64_t>(sizeof(float)) / (points_ * row_);
    return std::clamp(fit, kLeastTiles, kMostTiles) / kernels_.rows * kernels_.rows;
  }

  // Transformed tiles are read once for this many panels, whose products should stay in the
  // second-level cache.
  int64_t PanelsAtOnce(int64_t tiles) const {
    return std::max<int64_t>(1, SecondCacheBytes() / 2 / ProductBytes(tiles));
  }
  int64_t ProductBytes(int64_t tiles) const {
    return points_ * tiles * kernels_.panel * static_cast<int64_t>(sizeof(float));
  }

  // One thread computes the whole block.
  void RunBlock(int64_t first, int64_t last) const {
    const int64_t count = last - first;
    if (count == 0) return;
    float* const block = block_scratch.Floats(static_cast<size_t>(points_ * count * row_));
    for (int64_t tile = first; tile < last; tile++)
      TransformIn(tile, block + (tile - first) * row_, count * row_);
    const int64_t at_once = PanelsAtOnce(count);
    for (int64_t panel = 0; panel < panels_; panel += at_once)
      RunPanels(panel, std::min(panel + at_once, panels_), first, count, block);
  }

  // For few tiles. The threads share the weights, because reading the weights is what takes the
  // time.
  void RunTogether() const {
    float* const block = block_scratch.Floats(static_cast<size_t>(points_ * tiles_ * row_));
    at::parallel_for(0, tiles_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t tile = begin; tile < end; tile++)
        TransformIn(tile, block + tile * row_, tiles_ * row_);
    });
    const int64_t threads = at::get_num_threads();
    const int64_t even = DivideUp(DivideUp(panels_, PanelsAtOnce(tiles_)), threads) * threads;
    ShareWork(even, threads, [&](const auto& take) {
      while (const auto unit = take())
        RunPanels(panels_ * *unit / even, panels_ * (*unit + 1) / even, 0, tiles_, block);
    });
    block_scratch.Trim();
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

  // Computes panels [begin, end) of the results for a block of tiles.
  void RunPanels(int64_t begin, int64_t end, int64_t first, int64_t count,
                 const float* block) const {
    if (begin == end) return;
    const int64_t columns = kernels_.panel;
    const int64_t weights = channels_ * columns;
    const int64_t size = points_ * count * columns;
    float* const products = product_scratch.Floats(static_cast<size_t>((end - begin) * size));
    for (int64_t p = 0; p < points_; p++) {
      for (int64_t panel = begin; panel < end; panel++) {
        float* const out = products + (panel - begin) * size + p * count * columns;
        kernels_.multiply(block + p * count * row_, row_, packed_ + (panel * points_ + p) * weights,
                          channels_, out, columns, count);
      }
    }
    for (int64_t panel = begin; panel < end; panel++) {
      const float* const in = products + (panel - begin) * size;
      for (int64_t i = 0; i < count; i++)
        TransformOut(panel, first + i, in + i * columns, count * columns);
    }
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
      pixels[p] = inside ? epilogue_.output + offset : nullptr;
      residuals[p] = inside ? epilogue_.ResidualAt(offset) : nullptr;
    }
    kernels_.transform_output[tile_][type_](
        {in, in_stride, std::min(kernels_.panel, out_channels_ - column),
         epilogue_.BiasAt(image, column),
         epilogue_.residual != nullptr ? residuals.data() : nullptr, pixels.data()});
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
  Epilogue epilogue_{};
};

}  // namespace

at::Tensor WinogradConvolution(const at::Tensor& input, const at::Tensor& packed,
                               const std::optional<at::Tensor>& bias,
                               const std::optional<at::Tensor>& residual, int64_t out_channels) {
  if (input.dim() == 3) {
    return ConvolvePicture(input, residual, [&](const at::Tensor& batch) {
      return WinogradConvolution(batch, packed, bias, {}, out_channels);
    });
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
  const at::Tensor output = at::empty({x.size(0), out_channels, x.size(2), x.size(3)},
                                      x.options().memory_format(c10::MemoryFormat::ChannelsLast));
  return ComputeAndAdd(output, bias, residual, [&](const Epilogue& epilogue) {
    Convolution(x, packed, out_channels).Run(epilogue);
  });
}

}  // namespace latent_diffusion
