#include "kernels/convolution/amx_calculation.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>

#include "kernels/divide_up.h"
#include "kernels/scratch.h"
#include "kernels/shared_work.h"

namespace latent_diffusion {
namespace {

thread_local Scratch plane_scratch;
thread_local Scratch sum_scratch;

// A block of pixels and a panel of weights should both fit a core's second-level cache.
constexpr int64_t kBandBytes = 1 << 20;
constexpr int64_t kPanelBytes = 512 << 10;
// With fewer positions, each weight would be used too few times.
constexpr int64_t kLeastPositions = 256;
// Rows of the planes that a thread fills at a time, if all threads fill the same planes.
constexpr int64_t kRowsToFill = 4;
// Each band reads two rows of its neighbours again.
constexpr int64_t kLeastRows = 8;
// The least number of bands per thread, if there are enough rows. A thread on a busy core can then
// leave some to others.
constexpr int64_t kBandsOfThread = 4;

// While this object lives, tiles have the shape that the kernels expect. Its destructor releases
// them on exceptions too.
class TileScope {
 public:
  explicit TileScope(const AmxKernels& kernels) : kernels_(kernels) { kernels_.begin_tiles(); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
  ~TileScope() { kernels_.end_tiles(); }

 private:
  const AmxKernels& kernels_;
};

void Zero(uint16_t* values, int64_t positions) {
  std::memset(values, 0, static_cast<size_t>(positions * kTileDepth) * sizeof(uint16_t));
}

}  // namespace

AmxCalculation::AmxCalculation(const AmxGeometry& geometry, const at::Tensor& input,
                               const at::Tensor& packed)
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

void AmxCalculation::SetNorm(const at::Tensor& norm, bool silu) {
  scale_ = norm.const_data_ptr<float>();
  shift_ = scale_ + g_.batch * g_.channels;
  silu_ = silu;
}

void AmxCalculation::Run(const Epilogue& epilogue) {
  epilogue_ = epilogue;
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

AmxCalculation::Band AmxCalculation::MakeBand(int64_t first, int64_t rows) const {
  const int64_t sums = DivideUp(rows * pitch_, kTileRows) * kTileRows;
  // The last row ends with a column of zeros too; sums beyond it read past the row.
  const int64_t positions = std::max(InputRows(rows) * pitch_ + padding_,
                                     (sums - 1) * g_.stride + (kernel_ - 1) * (pitch_ + 1) + 1);
  const int64_t block_stride = positions * kTileDepth;
  const int64_t values = parts_ * blocks_ * block_stride;
  float* const memory = plane_scratch.Floats(static_cast<size_t>(DivideUp(values, 2)));
  return {first, rows, reinterpret_cast<uint16_t*>(memory), block_stride};
}

void AmxCalculation::RunBand(int64_t begin, int64_t end) const {
  if (begin == end) return;
  const Band band = MakeBand(begin, end - begin);
  FillRows(band, 0, InputRows(band.rows));
  for (int64_t unit = 0; unit < panels_ * g_.phases(); unit++) RunPanel(band, unit);
}

void AmxCalculation::RunTogether() const {
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

void AmxCalculation::FillRows(const Band& band, int64_t begin, int64_t end) const {
  // Without padding and without a norm per image, all rows count as one.
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

void AmxCalculation::Split(const Band& band, int64_t row, int64_t pixels, int64_t first,
                           int64_t image) const {
  uint16_t* const high = band.planes + (row * pitch_ + padding_) * kTileDepth;
  const int64_t norm = image * g_.channels;
  kernels_.split_pixels[type_]({input_ + first * g_.channels * element_size_, pixels, g_.channels,
                                scale_ != nullptr ? scale_ + norm : nullptr, shift_ + norm, silu_,
                                high, high + blocks_ * band.block_stride, band.block_stride});
}

void AmxCalculation::RunPanel(const Band& band, int64_t unit) const {
  const int64_t positions = band.rows * pitch_;
  const int64_t part_values = parts_ * kTileDepth * kAmxPanel;
  const int64_t block_values = g_.taps * part_values;
  const int64_t at_once =
      std::max<int64_t>(1, kPanelBytes / static_cast<int64_t>(sizeof(uint16_t)) / block_values);
  // Sums that are complete after one block share one buffer.
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
    // Prefetches the next weights, a share with each block of rows, so that memory access and
    // products overlap.
    work.next_step = DivideUp(part_values / DivideUp(positions, kAmxRows), kTileDepth) * kTileDepth;
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

void AmxCalculation::Store(const Band& band, int64_t unit, int64_t begin, int64_t end,
                           const float* sums) const {
  const int64_t per_image = period_ / g_.stride;
  const int64_t column = unit / g_.phases() * kAmxPanel;
  const int64_t phase = unit % g_.phases();
  // Without padding and without a bias per image, all rows count as one.
  const bool one = padding_ == 0 && epilogue_.bias_stride == 0;
  for (int64_t next = 0; begin < end; sums += (next - begin) * kAmxPanel, begin = next) {
    const int64_t row = band.first + begin / pitch_;
    next = one ? end : std::min(end, begin - begin % pitch_ + pitch_);
    const int64_t image = row / per_image;
    const int64_t y = row % per_image * g_.scale + phase / 2;
    const int64_t x = begin % pitch_ * g_.scale + phase % 2;
    if (x >= g_.out_width || y >= g_.out_height) continue;
    const int64_t pixel = (image * g_.out_height + y) * g_.out_width + x;
    const int64_t offset = (pixel * g_.out_channels + column) * element_size_;
    kernels_.store_pixels[type_](
        {sums, kAmxPanel,
         one ? next - begin : std::min(next - begin, DivideUp(g_.out_width - x, g_.scale)),
         std::min(kAmxPanel, g_.out_channels - column), g_.scale * g_.out_channels,
         epilogue_.BiasAt(image, column), epilogue_.ResidualAt(offset), epilogue_.output + offset});
  }
}

}  // namespace latent_diffusion
