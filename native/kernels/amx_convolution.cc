#include "kernels/amx_convolution.h"

#include <ATen/Parallel.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "kernels/addends.h"
#include "kernels/amx_kernels.h"
#include "kernels/group_norm.h"
#include "kernels/scratch.h"
#include "kernels/shared_work.h"

namespace latent_diffusion {
namespace {

thread_local Scratch plane_scratch;
thread_local Scratch sum_scratch;

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A block of pixels and a panel of weights should both stay in a core's second cache.
constexpr int64_t kBandBytes = 1 << 20;
constexpr int64_t kPanelBytes = 512 << 10;
// Fewer positions would meet each weight too seldom.
constexpr int64_t kLeastPositions = 256;
// Rows of the planes that a thread fills at a time, where all threads fill the same planes.
constexpr int64_t kRowsToFill = 4;
// Each band reads two rows of its neighbours again.
constexpr int64_t kLeastRows = 8;
// So many bands a thread at least, where rows suffice: a thread on a busy core leaves some to
// others.
constexpr int64_t kBandsOfThread = 4;

// `scale` is 2 where the picture is enlarged first, each pixel to 2 x 2: then a result sees 2 x 2
// pixels only, and which depends on whether its row and column are even: four phases.
struct Geometry {
  int64_t batch, channels, height, width, out_channels, out_height, out_width, taps, stride, scale;

  int64_t phases() const { return scale * scale; }
};

// While this lives, tiles have the shape that the kernels expect; also when memory runs out.
class TileScope {
 public:
  explicit TileScope(const AmxKernels& kernels) : kernels_(kernels) { kernels_.begin_tiles(); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
  ~TileScope() { kernels_.end_tiles(); }

 private:
  const AmxKernels& kernels_;
};

// One call. The images of a batch stand below each other in one tall picture with a row of zeros
// above each, and a column of zeros before each row, which also ends the row before: so a tap is a
// fixed distance, in whatever row, and the right matrix's row for a position is the same for all
// blocks of 16 positions. Positions in the column of zeros have sums like all others, which nobody
// stores.
class Convolution {
 public:
  Convolution(const Geometry& geometry, const at::Tensor& input, const at::Tensor& packed)
      : kernels_(*FindAmxKernels()),
        g_(geometry),
        type_(input.scalar_type() == at::kBFloat16 ? kBFloat16 : kFloat32),
        element_size_(static_cast<int64_t>(input.element_size())),
        parts_(packed.size(3)),
        kernel_(g_.taps == 1 ? 1 : 3),
        padding_(kernel_ / 2),
        pitch_(g_.width + padding_),
        period_(DivideUp(g_.height + padding_, g_.stride) * g_.stride),
        rows_((g_.batch - 1) * period_ / g_.stride + g_.out_height / g_.scale),
        blocks_(packed.size(1)),
        panels_(packed.size(0) / g_.phases()),
        input_(static_cast<const char*>(input.const_data_ptr())),
        packed_(reinterpret_cast<const uint16_t*>(packed.const_data_ptr<at::BFloat16>())) {
    const int64_t side = g_.scale == 2 ? 2 : kernel_;
    for (int64_t phase = 0; phase < g_.phases(); phase++) {
      for (int64_t tap = 0; tap < g_.taps; tap++) {
        const int64_t down = phase / 2 + tap / side, right = phase % 2 + tap % side;
        taps_[phase][tap] = (down * pitch_ + right) * kTileDepth;
      }
    }
  }

  void SetBias(const at::Tensor& bias) {
    // Padded, so that the kernel may read whole panels.
    const int64_t count = bias.dim() == 2 ? g_.batch : 1;
    bias_.assign(static_cast<size_t>(count * panels_ * kAmxPanel), 0.0F);
    bias_stride_ = bias.dim() == 2 ? panels_ * kAmxPanel : 0;
    for (int64_t i = 0; i < count; i++) {
      std::copy_n(bias.const_data_ptr<float>() + i * g_.out_channels, g_.out_channels,
                  bias_.data() + i * bias_stride_);
    }
  }
  void SetResidual(const at::Tensor& residual) {
    residual_ = static_cast<const char*>(residual.const_data_ptr());
  }

  // Factors, then summands, for each image's channels, and SiLU after them.
  void SetNorm(const at::Tensor& norm, bool silu) {
    scale_ = norm.const_data_ptr<float>();
    shift_ = scale_ + g_.batch * g_.channels;
    silu_ = silu;
  }

  void Run(char* output) {
    output_ = output;
    const int64_t threads = at::get_num_threads();
    if (BandBytes(rows_) <= kBandBytes) return RunTogether();
    const int64_t share = rows_ / (threads * kBandsOfThread);
    const int64_t fit = std::max(std::min(kBandBytes / RowBytes(), std::max(share, kLeastRows)),
                                 DivideUp(kLeastPositions, pitch_));
    const int64_t bands = DivideUp(DivideUp(rows_, fit), threads) * threads;
    ShareWork(bands, threads, [&](const auto& take) {
      const TileScope tiles(kernels_);
      while (const auto band = take()) RunBand(rows_ * *band / bands, rows_ * (*band + 1) / bands);
    });
  }

 private:
  // Consecutive rows of results, and the planes of pixels that they are made of.
  struct Band {
    int64_t first, rows;
    uint16_t* planes;
    int64_t block_stride;
  };

  int64_t RowBytes() const {
    return pitch_ * g_.stride * blocks_ * parts_ * kTileDepth *
           static_cast<int64_t>(sizeof(uint16_t));
  }
  int64_t BandBytes(int64_t rows) const { return rows * RowBytes(); }

  int64_t InputRows(int64_t rows) const { return (rows - 1) * g_.stride + kernel_; }

  Band MakeBand(int64_t first, int64_t rows) const {
    const int64_t sums = DivideUp(rows * pitch_, kTileRows) * kTileRows;
    // The last row ends with a column of zeros too; sums beyond it read on.
    const int64_t positions = std::max(InputRows(rows) * pitch_ + padding_,
                                       (sums - 1) * g_.stride + (kernel_ - 1) * (pitch_ + 1) + 1);
    const int64_t block_stride = positions * kTileDepth;
    const int64_t values = parts_ * blocks_ * block_stride;
    float* const memory = plane_scratch.Floats(static_cast<size_t>(DivideUp(values, 2)));
    return {first, rows, reinterpret_cast<uint16_t*>(memory), block_stride};
  }

  void RunBand(int64_t begin, int64_t end) const {
    if (begin == end) return;
    const Band band = MakeBand(begin, end - begin);
    FillRows(band, 0, InputRows(band.rows));
    for (int64_t unit = 0; unit < panels_ * g_.phases(); unit++) RunPanel(band, unit);
  }

  // Few pixels: the threads share the weights, which are what must come from memory.
  void RunTogether() const {
    const Band band = MakeBand(0, rows_);
    const int64_t threads = at::get_num_threads();
    const int64_t rows = InputRows(rows_);
    const int64_t chunks = DivideUp(rows, kRowsToFill);
    ShareWork(chunks, std::min(threads, chunks), [&](const auto& take) {
      while (const auto chunk = take())
        FillRows(band, *chunk * kRowsToFill, std::min(rows, (*chunk + 1) * kRowsToFill));
    });
    ShareWork(panels_ * g_.phases(), threads, [&](const auto& take) {
      const TileScope tiles(kernels_);
      while (const auto unit = take()) RunPanel(band, *unit);
    });
  }

  // Rows of the planes, from the picture's rows or of zeros.
  void FillRows(const Band& band, int64_t begin, int64_t end) const {
    // Without zeros between them and norms of their own, all rows are one.
    if (padding_ == 0 && scale_ == nullptr) {
      const int64_t first = band.first + begin;
      return Split(band, begin, (end - begin) * g_.width, first * g_.width, 0);
    }
    for (int64_t row = begin; row < end; row++) {
      const int64_t place = band.first * g_.stride + row - padding_;
      const int64_t image = place < 0 ? g_.batch : place / period_;
      const int64_t y = place < 0 ? g_.height : place % period_;
      const bool zeros = y >= g_.height || image >= g_.batch;
      for (int64_t plane = 0; plane < parts_ * blocks_ && padding_ > 0; plane++) {
        uint16_t* const start = band.planes + plane * band.block_stride + row * pitch_ * kTileDepth;
        Zero(start, zeros ? pitch_ : padding_);
        if (row == InputRows(band.rows) - 1) Zero(start + pitch_ * kTileDepth, padding_);
      }
      if (!zeros) Split(band, row, g_.width, (image * g_.height + y) * g_.width, image);
    }
  }

  // Pixels side by side, from number `first`, into a row of the planes.
  void Split(const Band& band, int64_t row, int64_t pixels, int64_t first, int64_t image) const {
    uint16_t* const high = band.planes + (row * pitch_ + padding_) * kTileDepth;
    const int64_t norm = image * g_.channels;
    kernels_.split_pixels[type_]({input_ + first * g_.channels * element_size_, pixels, g_.channels,
                                  scale_ != nullptr ? scale_ + norm : nullptr, shift_ + norm, silu_,
                                  high, high + blocks_ * band.block_stride, band.block_stride});
  }

  static void Zero(uint16_t* values, int64_t positions) {
    std::memset(values, 0, static_cast<size_t>(positions * kTileDepth) * sizeof(uint16_t));
  }

  // Unit: a panel in one phase.
  void RunPanel(const Band& band, int64_t unit) const {
    const int64_t positions = band.rows * pitch_;
    const int64_t part_values = parts_ * kTileDepth * kAmxPanel;
    const int64_t block_values = g_.taps * part_values;
    const int64_t at_once =
        std::max<int64_t>(1, kPanelBytes / static_cast<int64_t>(sizeof(uint16_t)) / block_values);
    // Sums that are complete at once take turns in one place.
    const bool at_last = at_once >= blocks_;
    const int64_t kept = at_last ? kAmxRows : DivideUp(positions, kAmxRows) * kAmxRows;
    float* const sums = sum_scratch.Floats(static_cast<size_t>(kept * kAmxPanel));
    MultiplyTiles work{};
    work.low = blocks_ * band.block_stride;
    work.block_stride = band.block_stride;
    work.row_stride = g_.stride * kTileDepth;
    work.taps = taps_[unit % g_.phases()].data();
    work.tap_count = g_.taps;
    for (int64_t block = 0; block < blocks_; block += at_once) {
      work.blocks = std::min(at_once, blocks_ - block);
      work.right = packed_ + (unit * blocks_ + block) * block_values;
      work.accumulate = block > 0;
      // The weights after these, a share with each block of rows, so that memory and products
      // overlap.
      work.next_step =
          DivideUp(part_values / DivideUp(positions, kAmxRows), kTileDepth) * kTileDepth;
      const int64_t share = work.next_step * g_.taps * work.blocks;
      for (int64_t position = 0; position < positions; position += kAmxRows) {
        work.left = band.planes + block * band.block_stride + position * work.row_stride;
        work.sums = at_last ? sums : sums + position * kAmxPanel;
        work.one_tile = positions - position <= kTileRows;
        work.next = work.right + work.blocks * block_values + position / kAmxRows * share;
        kernels_.multiply[type_](work);
        if (block + work.blocks < blocks_) continue;
        Store(band, unit, position, std::min(position + kAmxRows, positions), work.sums);
      }
    }
  }

  // Sums of positions [begin, end), row by row, without those that belong to no pixel.
  void Store(const Band& band, int64_t unit, int64_t begin, int64_t end, const float* sums) const {
    const int64_t per_image = period_ / g_.stride;
    const int64_t column = unit / g_.phases() * kAmxPanel;
    const int64_t phase = unit % g_.phases();
    // Without padding and biases of their own, all rows are one.
    const bool one = padding_ == 0 && bias_stride_ == 0;
    for (int64_t next = 0; begin < end; sums += (next - begin) * kAmxPanel, begin = next) {
      const int64_t row = band.first + begin / pitch_;
      next = one ? end : std::min(end, begin - begin % pitch_ + pitch_);
      const int64_t image = row / per_image;
      const int64_t y = row % per_image * g_.scale + phase / 2;
      const int64_t x = begin % pitch_ * g_.scale + phase % 2;
      if (x >= g_.out_width || y >= g_.out_height) continue;
      const int64_t pixel = (image * g_.out_height + y) * g_.out_width + x;
      const int64_t offset = (pixel * g_.out_channels + column) * element_size_;
      kernels_.store_sums[type_](
          {sums, one ? next - begin : std::min(next - begin, DivideUp(g_.out_width - x, g_.scale)),
           std::min(kAmxPanel, g_.out_channels - column), g_.scale * g_.out_channels,
           bias_.empty() ? nullptr : bias_.data() + image * bias_stride_ + column,
           residual_ != nullptr ? residual_ + offset : nullptr, output_ + offset});
    }
  }

  const AmxKernels& kernels_;
  const Geometry g_;
  const ElementType type_;
  const int64_t element_size_, parts_, kernel_, padding_;
  // Positions from a row to the next; rows from an image to the next; rows of results.
  const int64_t pitch_, period_, rows_;
  const int64_t blocks_, panels_;
  const char* const input_;
  const uint16_t* const packed_;
  std::array<std::array<int64_t, 9>, 4> taps_{};
  std::vector<float> bias_;
  int64_t bias_stride_ = 0;
  const char* residual_ = nullptr;
  const float *scale_ = nullptr, *shift_ = nullptr;
  bool silu_ = false;
  char* output_ = nullptr;
};

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

at::Tensor Run(Convolution& convolution, const std::optional<at::Tensor>& bias,
               const std::optional<at::Tensor>& residual, const at::Tensor& output) {
  const Addends addends = PrepareAddends(bias, residual, output);
  if (addends.bias.defined()) convolution.SetBias(addends.bias);
  if (addends.residual.defined()) convolution.SetResidual(addends.residual);
  convolution.Run(static_cast<char*>(output.mutable_data_ptr()));
  return addends.rest.defined() ? at::add(output, addends.rest) : output;
}

}  // namespace

at::Tensor AmxConvolution(const at::Tensor& input, const at::Tensor& packed,
                          const std::optional<at::Tensor>& bias,
                          const std::optional<at::Tensor>& residual, int64_t in_channels,
                          int64_t out_channels, int64_t stride, int64_t groups,
                          const std::optional<at::Tensor>& norm_weight,
                          const std::optional<at::Tensor>& norm_bias, double eps, bool silu) {
  if (input.dim() == 3) {
    // One picture, but to a norm it is a batch of rows.
    const at::Tensor normal =
        groups > 0 ? GroupNorm(input, groups, norm_weight, norm_bias, eps, silu) : input;
    const at::Tensor image = AmxConvolution(normal.unsqueeze(0), packed, bias, {}, in_channels,
                                            out_channels, stride, 0, {}, {}, eps, silu)
                                 .squeeze(0);
    return residual ? at::add(image, *residual) : image;
  }
  TORCH_CHECK(input.dim() == 4, "Expected an input of 4 dimensions, but received ", input.sizes());
  CheckPacked(input, input.size(1), packed, in_channels, out_channels);
  TORCH_CHECK(stride == 1 || (stride == 2 && packed.size(2) == 9),
              "Expected a stride of 1, or of 2 with 3 x 3, but received ", stride);
  const at::Tensor x = input.contiguous(c10::MemoryFormat::ChannelsLast);
  const int64_t scale = packed.size(2) == 4 ? 2 : 1;
  const int64_t height = DivideUp(x.size(2) * scale, stride);
  const int64_t width = DivideUp(x.size(3) * scale, stride);
  at::Tensor output = at::empty({x.size(0), out_channels, height, width},
                                x.options().memory_format(c10::MemoryFormat::ChannelsLast));
  if (output.numel() == 0) return residual ? at::add(output, *residual) : output;
  Convolution convolution({x.size(0), x.size(1), x.size(2), x.size(3), out_channels, height, width,
                           packed.size(2), stride, scale},
                          x, packed);
  at::Tensor scales;
  if (groups > 0) {
    scales = GroupNormScales(x, groups, norm_weight, norm_bias, eps);
    convolution.SetNorm(scales, silu);
  }
  return Run(convolution, bias, residual, output);
}

at::Tensor AmxLinear(const at::Tensor& input, const at::Tensor& packed,
                     const std::optional<at::Tensor>& bias,
                     const std::optional<at::Tensor>& residual, int64_t in_channels,
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
  // A column of pixels.
  Convolution convolution({1, x.size(-1), rows, 1, out_channels, rows, 1, 1, 1, 1}, x, packed);
  Run(convolution, bias, {}, output);
  return residual ? at::add(output.view(shape), *residual) : output.view(shape);
}

}  // namespace latent_diffusion
