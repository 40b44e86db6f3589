// One call of a convolution or linear layer by AMX: where everything lies, and who does what.
// Thread: any; uses LibTorch's intra-op threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

#include "kernels/convolution/amx_kernels.h"
#include "kernels/convolution/epilogue.h"

namespace latent_diffusion {

// `scale` is 2 where the picture is enlarged first, each pixel to 2 x 2: then a result sees 2 x 2
// pixels only, and which depends on whether its row and column are even: four phases.
struct AmxGeometry {
  int64_t batch, channels, height, width, out_channels, out_height, out_width, taps, stride, scale;

  int64_t phases() const { return scale * scale; }
};

// The images of a batch stand below each other in one tall picture with a row of zeros above each,
// and a column of zeros before each row, which also ends the row before: so a tap is a fixed
// distance, in whatever row, and the right matrix's row for a position is the same for all blocks
// of 16 positions. Positions in the column of zeros have sums like all others, which nobody stores.
class AmxCalculation {
 public:
  // `input` channels_last, and both live as long as this.
  AmxCalculation(const AmxGeometry& geometry, const at::Tensor& input, const at::Tensor& packed);

  // Factors, then summands, for each image's channels, and SiLU after them.
  void SetNorm(const at::Tensor& norm, bool silu);

  void Run(const Epilogue& epilogue);

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

  Band MakeBand(int64_t first, int64_t rows) const;
  void RunBand(int64_t begin, int64_t end) const;
  // Few pixels: the threads share the weights, which are what must come from memory.
  void RunTogether() const;
  // Rows of the planes, from the picture's rows or of zeros.
  void FillRows(const Band& band, int64_t begin, int64_t end) const;
  // Pixels side by side, from number `first`, into a row of the planes.
  void Split(const Band& band, int64_t row, int64_t pixels, int64_t first, int64_t image) const;
  // Unit: a panel in one phase.
  void RunPanel(const Band& band, int64_t unit) const;
  // Sums of positions [begin, end), row by row, without those that belong to no pixel.
  void Store(const Band& band, int64_t unit, int64_t begin, int64_t end, const float* sums) const;

  const AmxKernels& kernels_;
  const AmxGeometry g_;
  const ElementType type_;
  const int64_t element_size_, parts_, kernel_, padding_;
  // Positions from a row to the next; rows from an image to the next; rows of results.
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
