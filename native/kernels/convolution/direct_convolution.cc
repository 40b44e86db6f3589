#include "kernels/convolution/direct_convolution.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <vector>

#include "kernels/convolution/epilogue.h"
#include "kernels/divide_up.h"
#include "kernels/scratch.h"
#include "kernels/shared_work.h"
#include "kernels/simd/cpu_kernels.h"

namespace latent_diffusion {
namespace {

thread_local Scratch plane_scratch;
thread_local Scratch sum_scratch;

// Channels per step. The weights of one panel, all taps, then stay in a core's second-level cache
// for all pixels.
constexpr int64_t kDepth = 128;
// Pixels whose sums stay in the first-level cache.
constexpr int64_t kBandPixels = 256;

struct Geometry {
  int64_t batch, channels, height, width, out_channels, out_height, out_width, side, stride,
      padding;

  int64_t taps() const { return side * side; }
};

ElementType TypeOf(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kBFloat16 ? kBFloat16 : kFloat32;
}

// One call. The pictures are copied into a plane of floats with zeros around each, so that the
// offset of a tap is constant.
class Convolution {
 public:
  Convolution(const Geometry& geometry, const at::Tensor& input, const at::Tensor& packed)
      : kernels_(*FindCpuKernels()),
        g_(geometry),
        type_(TypeOf(input)),
        element_size_(static_cast<int64_t>(input.element_size())),
        pitch_(g_.width + 2 * g_.padding),
        lines_(g_.height + 2 * g_.padding),
        panels_(packed.size(0)),
        bands_(std::min(DivideUp(g_.batch * g_.out_height * g_.out_width, kBandPixels),
                        g_.batch * g_.out_height)),
        input_(static_cast<const char*>(input.const_data_ptr())),
        weights_(static_cast<const char*>(packed.const_data_ptr())) {
    for (int64_t tap = 0; tap < g_.taps(); tap++)
      taps_.push_back((tap / g_.side * pitch_ + tap % g_.side) * g_.channels);
  }

  void Run(const Epilogue& epilogue) {
    epilogue_ = epilogue;
    FillPlane();
    const int64_t rows = g_.batch * g_.out_height;
    ShareWork(bands_ * panels_, at::get_num_threads(), [&](const auto& take) {
      while (const auto unit = take()) {
        const int64_t band = *unit / panels_;
        RunPanel(*unit % panels_, rows * band / bands_, rows * (band + 1) / bands_);
      }
    });
    // The kernel is for few pixels, but a large picture may come too.
    plane_scratch.Trim();
  }

 private:
  void FillPlane() {
    const int64_t row = pitch_ * g_.channels;
    float* const plane =
        plane_scratch.Floats(static_cast<size_t>(FloatCount({g_.batch, lines_, row})));
    at::parallel_for(0, g_.batch * lines_, 8, [&](int64_t begin, int64_t end) {
      for (int64_t line = begin; line < end; line++) {
        const int64_t y = line % lines_ - g_.padding;
        float* const to = plane + line * row;
        const bool inside = y >= 0 && y < g_.height;
        const int64_t edge = inside ? g_.padding * g_.channels : row;
        std::fill_n(to, edge, 0.0F);
        if (!inside) continue;
        std::fill_n(to + row - edge, edge, 0.0F);
        const int64_t from = (line / lines_ * g_.height + y) * g_.width * g_.channels;
        kernels_.widen[type_](input_ + from * element_size_, to + edge, g_.width * g_.channels);
      }
    });
    plane_ = plane;
  }

  // Computes rows [begin, end) of the results, numbered along the batch.
  void RunPanel(int64_t panel, int64_t begin, int64_t end) const {
    if (begin == end) return;
    const int64_t columns = kernels_.panel;
    const int64_t width = g_.out_width * columns;
    float* const sums = sum_scratch.Floats(static_cast<size_t>((end - begin) * width));
    AddTaps work{};
    work.pixel_count = g_.out_width;
    work.pixel_stride = g_.stride * g_.channels;
    work.taps = taps_.data();
    work.tap_count = g_.taps();
    for (int64_t channel = 0; channel < g_.channels; channel += kDepth) {
      work.depth = std::min(kDepth, g_.channels - channel);
      const int64_t bytes = work.depth * g_.taps() * columns * element_size_;
      const char* const weights =
          weights_ + (panel * g_.channels + channel) * g_.taps() * columns * element_size_;
      work.weights = weights;
      work.accumulate = channel > 0;
      // Prefetches the next weights, a share with each block of pixels.
      const int64_t blocks = (end - begin) * DivideUp(g_.out_width, kernels_.rows);
      work.next_lines = std::min(DivideUp(bytes, kLineBytes * blocks * g_.taps()), work.depth);
      const int64_t share =
          work.next_lines * g_.taps() * kLineBytes * DivideUp(g_.out_width, kernels_.rows);
      for (int64_t row = begin; row < end; row++) {
        work.pixels = PixelsOf(row) + channel;
        work.sums = sums + (row - begin) * width;
        work.next = weights + bytes + (row - begin) * share;
        kernels_.add_taps[type_](work);
      }
    }
    for (int64_t row = begin; row < end; row++) Store(panel, row, sums + (row - begin) * width);
  }

  const float* PixelsOf(int64_t row) const {
    const int64_t line = row / g_.out_height * lines_ + row % g_.out_height * g_.stride;
    return plane_ + line * pitch_ * g_.channels;
  }

  void Store(int64_t panel, int64_t row, const float* sums) const {
    const int64_t columns = kernels_.panel;
    const int64_t column = panel * columns;
    const int64_t offset = (row * g_.out_width * g_.out_channels + column) * element_size_;
    const int64_t image = row / g_.out_height;
    kernels_.store_pixels[type_](
        {sums, columns, g_.out_width, std::min(columns, g_.out_channels - column), g_.out_channels,
         epilogue_.BiasAt(image, column), epilogue_.ResidualAt(offset), epilogue_.output + offset});
  }

  const CpuKernels& kernels_;
  const Geometry g_;
  const ElementType type_;
  const int64_t element_size_;
  // The plane's pixels per line, and lines per image.
  const int64_t pitch_, lines_;
  const int64_t panels_, bands_;
  const char* const input_;
  const char* const weights_;
  std::vector<int64_t> taps_;
  const float* plane_ = nullptr;
  Epilogue epilogue_{};
};

// A TorchScript file may call the operator too, with any weights.
void CheckPacked(const at::Tensor& input, const at::Tensor& packed, const Geometry& g) {
  const CpuKernels* const kernels = FindCpuKernels();
  TORCH_CHECK(input.scalar_type() == at::kFloat || input.scalar_type() == at::kBFloat16,
              "Expected an input in float32 or bfloat16, but received ", input.scalar_type());
  TORCH_CHECK(g.channels > 0 && input.size(1) == g.channels, "Expected an input of ", g.channels,
              " channels, but received one of shape ", input.sizes());
  TORCH_CHECK(kernels != nullptr && packed.scalar_type() == input.scalar_type() &&
                  packed.is_contiguous() && packed.dim() == 2 && g.out_channels > 0 &&
                  packed.size(0) == DivideUp(g.out_channels, kernels->panel) &&
                  packed.size(1) == g.channels * g.taps() * kernels->panel,
              "Expected weights that were packed in this process for ", input.scalar_type(),
              " and ", g.out_channels, " channels");
  TORCH_CHECK(g.out_height > 0 && g.out_width > 0, "Expected pixels for weights of side ", g.side,
              ", but received an input of shape ", input.sizes());
}

// [panel][channels, kDepth at a time][tap][channel][column]
template <typename Element>
void PackPanel(const at::Tensor& weight, int64_t panel, int64_t columns, Element* out) {
  const auto values = weight.accessor<Element, 4>();
  const int64_t channels = weight.size(1), side = weight.size(2);
  const int64_t used = std::min(columns, weight.size(0) - panel * columns);
  for (int64_t first = 0; first < channels; first += kDepth) {
    const int64_t last = std::min(first + kDepth, channels);
    for (int64_t tap = 0; tap < side * side; tap++) {
      for (int64_t channel = first; channel < last; channel++, out += columns) {
        for (int64_t i = 0; i < used; i++)
          out[i] = values[panel * columns + i][channel][tap / side][tap % side];
      }
    }
  }
}

}  // namespace

at::Tensor PackDirect(const at::Tensor& weight) {
  const int64_t columns = FindCpuKernels()->panel;
  const int64_t panels = DivideUp(weight.size(0), columns);
  const int64_t size = weight.size(1) * weight.size(2) * weight.size(3) * columns;
  at::Tensor packed =
      at::zeros({panels, size}, weight.options().memory_format(c10::MemoryFormat::Contiguous));
  at::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; panel++) {
      if (weight.scalar_type() == at::kFloat) {
        PackPanel(weight, panel, columns, packed.mutable_data_ptr<float>() + panel * size);
      } else {
        PackPanel(weight, panel, columns, packed.mutable_data_ptr<at::BFloat16>() + panel * size);
      }
    }
  });
  return packed;
}

at::Tensor DirectConvolution(const at::Tensor& input, const at::Tensor& packed,
                             const std::optional<at::Tensor>& bias,
                             const std::optional<at::Tensor>& residual, int64_t in_channels,
                             int64_t out_channels, int64_t side, int64_t stride, int64_t padding) {
  if (input.dim() == 3) {
    return ConvolvePicture(input, residual, [&](const at::Tensor& batch) {
      return DirectConvolution(batch, packed, bias, {}, in_channels, out_channels, side, stride,
                               padding);
    });
  }
  TORCH_CHECK(input.dim() == 4, "Expected an input of 4 dimensions, but received ", input.sizes());
  TORCH_CHECK(side > 0 && side <= 16 && stride > 0 && padding >= 0 && padding < side,
              "Expected a stride of at least 1 and a padding below the side of the weights");
  const auto out = [&](int64_t size) { return (size + 2 * padding - side + stride) / stride; };
  const Geometry geometry{
      input.size(0),      in_channels,        input.size(2), input.size(3), out_channels,
      out(input.size(2)), out(input.size(3)), side,          stride,        padding};
  CheckPacked(input, packed, geometry);
  const at::Tensor x = input.contiguous(c10::MemoryFormat::ChannelsLast);
  const at::Tensor output =
      at::empty({x.size(0), out_channels, geometry.out_height, geometry.out_width},
                x.options().memory_format(c10::MemoryFormat::ChannelsLast));
  return ComputeAndAdd(output, bias, residual, [&](const Epilogue& epilogue) {
    Convolution(geometry, x, packed).Run(epilogue);
  });
}

}  // namespace latent_diffusion
