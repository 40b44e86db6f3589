#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>

#include "kernels/convolution/winograd.h"

namespace latent_diffusion {
namespace {

constexpr int64_t kMostColumns = 32;
using Lanes = std::array<double, kMostColumns>;

// G for the points of winograd_kernel.h.
constexpr double kG2[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
constexpr double kG4[6][3] = {{1.0 / 4, 0, 0},
                              {-1.0 / 6, -1.0 / 6, -1.0 / 6},
                              {-1.0 / 6, 1.0 / 6, -1.0 / 6},
                              {1.0 / 24, 1.0 / 12, 1.0 / 6},
                              {1.0 / 24, -1.0 / 12, 1.0 / 6},
                              {0, 0, 1}};

// G g G' of one input channel for the columns of a panel, in double, so that weights are rounded
// once.
template <int kPatch>
void TransformWeights(const double (&g)[kPatch][3], const std::array<Lanes, 9>& weights, float* out,
                      int64_t point_stride, int64_t columns) {
  for (int y = 0; y < kPatch; y++) {
    std::array<Lanes, 3> row;
    for (int x = 0; x < 3; x++) {
      for (int64_t lane = 0; lane < columns; lane++) {
        row[x][lane] = g[y][0] * weights[x][lane] + g[y][1] * weights[3 + x][lane] +
                       g[y][2] * weights[6 + x][lane];
      }
    }
    for (int x = 0; x < kPatch; x++) {
      float* const point = out + (y * kPatch + x) * point_stride;
      for (int64_t lane = 0; lane < columns; lane++) {
        point[lane] = static_cast<float>(g[x][0] * row[0][lane] + g[x][1] * row[1][lane] +
                                         g[x][2] * row[2][lane]);
      }
    }
  }
}

}  // namespace

at::Tensor PackWinograd(const at::Tensor& weight, WinogradTile tile) {
  const at::Tensor plain = weight.to(at::kFloat);
  const auto values = plain.accessor<float, 4>();
  const int64_t out_channels = plain.size(0);
  const int64_t channels = plain.size(1);
  const int64_t panel = FindCpuKernels()->panel;
  const int64_t points = tile == kTile2 ? 16 : 36;
  const int64_t panels = (out_channels + panel - 1) / panel;
  at::Tensor packed = at::empty({panels, points, channels, panel},
                                plain.options().memory_format(c10::MemoryFormat::Contiguous));
  auto* const data = packed.mutable_data_ptr<float>();
  at::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    std::array<Lanes, 9> lanes{};
    for (int64_t p = begin; p < end; p++) {
      const int64_t columns = std::min(panel, out_channels - p * panel);
      for (Lanes& lane : lanes) lane.fill(0);
      for (int64_t channel = 0; channel < channels; channel++) {
        for (int64_t lane = 0; lane < columns; lane++) {
          const auto kernel = values[p * panel + lane][channel];
          for (int i = 0; i < 9; i++) lanes[i][lane] = kernel[i / 3][i % 3];
        }
        float* const out = data + (p * points * channels + channel) * panel;
        if (tile == kTile2) {
          TransformWeights(kG2, lanes, out, channels * panel, panel);
        } else {
          TransformWeights(kG4, lanes, out, channels * panel, panel);
        }
      }
    }
  });
  return packed;
}

}  // namespace latent_diffusion
