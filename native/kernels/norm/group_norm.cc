#include "kernels/norm/group_norm.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/silu.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "kernels/divide_up.h"
#include "kernels/shared_work.h"
#include "kernels/simd/cpu_kernels.h"

namespace latent_diffusion {
namespace {

// Moments of this many pixels are summed in float32, relative to one of them. The moments of chunks
// are combined in double, in the same order on any number of threads.
constexpr int64_t kChunk = 64;

bool IsChannelsInnermost(const at::Tensor& input) {
  if (input.dim() == 4) return input.is_contiguous(c10::MemoryFormat::ChannelsLast);
  return input.dim() == 3 && input.transpose(1, 2).is_contiguous();
}

at::Tensor ToFloats(const std::optional<at::Tensor>& values) {
  return values && values->defined() ? values->to(at::kFloat).contiguous() : at::Tensor();
}

class Normalization {
 public:
  // `scales` is float32 [2, batch, channels]: factors, then summands. FindScales writes it.
  Normalization(const at::Tensor& input, int64_t groups, const at::Tensor& scales)
      : kernels_(*FindCpuKernels()),
        type_(input.scalar_type() == at::kBFloat16 ? kBFloat16 : kFloat32),
        element_size_(static_cast<int64_t>(input.element_size())),
        batch_(input.size(0)),
        channels_(input.size(1)),
        groups_(groups),
        pixels_(input.numel() / (batch_ * channels_)),
        chunks_(DivideUp(pixels_, kChunk)),
        input_(static_cast<const char*>(input.const_data_ptr())),
        scale_(scales.mutable_data_ptr<float>()),
        shift_(scale_ + batch_ * channels_) {}

  void FindScales(const float* weight, const float* bias, double eps) {
    moments_.resize(static_cast<size_t>(batch_ * chunks_ * 3 * channels_));
    ForChunks([&](int64_t chunk, int64_t first, int64_t count) {
      float* const pivots = moments_.data() + chunk * 3 * channels_;
      kernels_.moments[type_](input_ + first * element_size_, count, channels_, pivots,
                              pivots + channels_, pivots + 2 * channels_);
    });
    const int64_t size = channels_ / groups_;
    for (int64_t image = 0; image < batch_; image++) {
      for (int64_t group = 0; group < groups_; group++) {
        const auto [mean, variance] = Statistics(image, group);
        const double deviation = std::sqrt(variance + eps);
        for (int64_t channel = group * size; channel < (group + 1) * size; channel++) {
          const double scale = (weight != nullptr ? weight[channel] : 1) / deviation;
          scale_[image * channels_ + channel] = static_cast<float>(scale);
          shift_[image * channels_ + channel] =
              static_cast<float>((bias != nullptr ? bias[channel] : 0) - mean * scale);
        }
      }
    }
  }

  void Apply(char* output, bool silu) const {
    ForChunks([&](int64_t chunk, int64_t first, int64_t count) {
      const int64_t image = chunk / chunks_ * channels_;
      const int64_t offset = first * element_size_;
      kernels_.scale_pixels[silu ? 1 : 0][type_](
          {input_ + offset, output + offset, count, channels_, scale_ + image, shift_ + image});
    });
  }

 private:
  // Calls visit(pixels, mean, sum of squared differences from it) for each channel of each chunk of
  // a group.
  template <typename Visit>
  void ForMoments(int64_t image, int64_t group, const Visit& visit) const {
    const int64_t size = channels_ / groups_;
    for (int64_t chunk = 0; chunk < chunks_; chunk++) {
      const auto count = static_cast<double>(std::min(kChunk, pixels_ - chunk * kChunk));
      const float* const pivots =
          moments_.data() + (image * chunks_ + chunk) * 3 * channels_ + group * size;
      for (int64_t i = 0; i < size; i++) {
        const double sum = pivots[channels_ + i];
        const double about = pivots[2 * channels_ + i] - sum * sum / count;
        visit(count, pivots[i] + sum / count, std::max(0.0, about));
      }
    }
  }

  // The mean, and the variance about it, in double.
  std::pair<double, double> Statistics(int64_t image, int64_t group) const {
    const int64_t values = channels_ / groups_ * pixels_;
    const auto total = static_cast<double>(values);
    double sum = 0, square = 0;
    ForMoments(image, group,
               [&](double count, double mean, double /*about*/) { sum += count * mean; });
    const double center = sum / total;
    ForMoments(image, group, [&](double count, double mean, double about) {
      square += about + count * (mean - center) * (mean - center);
    });
    return {center, square / total};
  }

  // Calls work(chunk, its first element, its pixels).
  template <typename Work>
  void ForChunks(const Work& work) const {
    const int64_t units = batch_ * chunks_;
    ShareWork(units, std::min<int64_t>(at::get_num_threads(), units), [&](const auto& take) {
      while (const auto chunk = take()) {
        const int64_t pixel = *chunk % chunks_ * kChunk;
        work(*chunk, (*chunk / chunks_ * pixels_ + pixel) * channels_,
             std::min(kChunk, pixels_ - pixel));
      }
    });
  }

  const CpuKernels& kernels_;
  const ElementType type_;
  const int64_t element_size_, batch_, channels_, groups_, pixels_, chunks_;
  const char* const input_;
  float *const scale_, *const shift_;
  // Pivots, sums and sums of squares per chunk.
  std::vector<float> moments_;
};

// Computes moments and scales of a channels-last input.
Normalization Normalize(const at::Tensor& input, int64_t groups,
                        const std::optional<at::Tensor>& weight,
                        const std::optional<at::Tensor>& bias, double eps,
                        const at::Tensor& scales) {
  const at::Tensor weights = ToFloats(weight);
  const at::Tensor offsets = ToFloats(bias);
  for (const at::Tensor& each : {weights, offsets}) {
    TORCH_CHECK(!each.defined() || each.numel() == input.size(1),
                "Expected a weight and a bias for ", input.size(1), " channels, but received ",
                each.numel(), " values");
  }
  Normalization normalization(input, groups, scales);
  normalization.FindScales(weights.defined() ? weights.const_data_ptr<float>() : nullptr,
                           offsets.defined() ? offsets.const_data_ptr<float>() : nullptr, eps);
  return normalization;
}

at::Tensor EmptyScales(const at::Tensor& input) {
  return at::empty({2, input.size(0), input.size(1)}, at::kFloat);
}

}  // namespace

at::Tensor GroupNorm(const at::Tensor& input, int64_t groups,
                     const std::optional<at::Tensor>& weight, const std::optional<at::Tensor>& bias,
                     double eps, bool silu) {
  const bool suits = (input.scalar_type() == at::kFloat || input.scalar_type() == at::kBFloat16) &&
                     input.numel() > 0 && IsChannelsInnermost(input) && groups > 0 &&
                     input.size(1) % groups == 0;
  if (!suits || FindCpuKernels() == nullptr) {
    const at::Tensor normal =
        at::group_norm(input, groups, weight, bias, eps, /*cudnn_enabled=*/true);
    return silu ? at::silu(normal) : normal;
  }
  const at::Tensor scales = EmptyScales(input);
  const Normalization normalization = Normalize(input, groups, weight, bias, eps, scales);
  at::Tensor output = at::empty_like(input);
  normalization.Apply(static_cast<char*>(output.mutable_data_ptr()), silu);
  return output;
}

at::Tensor GroupNormScales(const at::Tensor& input, int64_t groups,
                           const std::optional<at::Tensor>& weight,
                           const std::optional<at::Tensor>& bias, double eps) {
  TORCH_CHECK(input.dim() == 4 && groups > 0 && input.size(1) % groups == 0 &&
                  (input.scalar_type() == at::kFloat || input.scalar_type() == at::kBFloat16),
              "Expected a picture in float32 or bfloat16 whose channels are a multiple of ", groups,
              ", but received ", input.scalar_type(), " of shape ", input.sizes());
  const at::Tensor scales = EmptyScales(input);
  if (input.numel() > 0) {
    Normalize(input.contiguous(c10::MemoryFormat::ChannelsLast), groups, weight, bias, eps, scales);
  }
  return scales;
}

}  // namespace latent_diffusion
