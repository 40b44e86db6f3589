// One call of a convolution or linear layer by AMX: the memory layout, and how threads share the
// work. Thread: any; uses LibTorch's intra-op threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

#include "kernels/convolution/amx_kernels.h"
#include "kernels/convolution/epilogue.h"

namespace latent_diffusion {

// `scale` is 2 if each pixel is first enlarged to 2 x 2. Then a result depends on only 2 x 2 source
// pixels. Which ones depends on whether its row and column are even, so there are four phases.
struct AmxGeometry {
  int64_t batch, channels, height, width, out_channels, out_height, out_width, taps, stride, scale;

  int64_t phases() const { return scale * scale; }
};

// The images of a batch are stacked in one tall picture. There is a row of zeros above each image,
// and a column of zeros before each row, which also ends the row above. So the offset of a tap is
// the same in every row, and 16 positions can form a tile wherever they start. Positions in the
// column of zeros are computed too, and not stored.
class AmxCalculation {
 public:
  // `input` is channels_last. Both tensors must outlive this object.
  AmxCalculation(const AmxGeometry& geometry, const at::Tensor& input, const at::Tensor& packed);

  // Factors, then summands, per image and channel; SiLU follows if `silu`.
  void SetNorm(const at::Tensor& norm, bool silu);

  void Run(const Epilogue& epilogue);

 private:
  // Consecutive rows of results, and the planes of pixels that they are computed from.
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

  Band MakeBand(int64_t first, int64_t rows) const;
  void RunBand(int64_t begin, int64_t end) const;
  // For few pixels. The threads share the panels of weights, because reading the weights is what
  // takes the time.
  void RunTogether() const;
  // Fills rows of the planes, from the picture's rows or with zeros.
  void FillRows(const Band& band, int64_t begin, int64_t end) const;
  // Splits consecutive pixels, from number `first` on, into a row of the planes.
  void Split(const Band& band, int64_t row, int64_t pixels, int64_t first, int64_t image) const;
  // A unit is a panel in one phase.
  void RunPanel(const Band& band, int64_t unit) const;
  // Stores the sums of positions [begin, end), row by row, and skips those that belong to no pixel.
  void Store(const Band& band, int64_t unit, int64_t begin, int64_t end, const float* sums) const;

  const AmxKernels& kernels_;
  const AmxGeometry g_;
  const ElementType type_;
  const int64_t element_size_, parts_, kernel_, padding_;
  // Positions per row, rows per image, and rows of results.
  const int64_t pitch_, period_, rows_;
  const int64_t blocks_, panels_;
  const char* const input_;
  const uint16_t* const packed_;
  std::array<std::array<int64_t, 9>, 4> taps_{};
  const float *scale_ = nullptr, *shift_ = nullptr;
  bool silu_ = false;
  Epilogue epilogue_{};
};

}  // namespace latent_diffusion
