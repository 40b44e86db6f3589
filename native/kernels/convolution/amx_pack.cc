#include <ATen/Parallel.h>
#include <ATen/ops/add.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <vector>

#include "kernels/convolution/amx_convolution.h"
#include "kernels/convolution/amx_kernels.h"
#include "kernels/divide_up.h"

namespace latent_diffusion {
namespace {

// The index of input channel `depth` and output channel `column` in a panel's block: two tiles of
// 16 columns, whose rows hold pairs of input channels.
int64_t Place(int64_t depth, int64_t column) {
  return (column / kTileRows * kTileRows + depth / 2) * kTileDepth + column % kTileRows * 2 +
         depth % 2;
}

// `plain` is float32 [out, in, ...taps].
at::Tensor Pack(const at::Tensor& plain, bool split) {
  const auto* const values = plain.const_data_ptr<float>();
  const int64_t out_channels = plain.size(0);
  const int64_t channels = plain.size(1);
  const int64_t taps = plain.dim() == 4 ? plain.size(2) * plain.size(3) : 1;
  const int64_t panels = DivideUp(out_channels, kAmxPanel);
  const int64_t blocks = DivideUp(channels, kTileDepth);
  const int64_t parts = split ? 2 : 1;
  constexpr int64_t kPartValues = kTileDepth * kAmxPanel;
  at::Tensor packed = at::empty({panels, blocks, taps, parts, kTileDepth, kAmxPanel},
                                plain.options().dtype(at::kBFloat16));
  auto* const data = packed.mutable_data_ptr<at::BFloat16>();
  at::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; panel++) {
      for (int64_t block = 0; block < blocks; block++) {
        const int64_t columns = std::min(kAmxPanel, out_channels - panel * kAmxPanel);
        const int64_t depth = std::min(kTileDepth, channels - block * kTileDepth);
        at::BFloat16* const out = data + (panel * blocks + block) * taps * parts * kPartValues;
        std::fill_n(out, taps * parts * kPartValues, at::BFloat16(0));
        for (int64_t n = 0; n < columns; n++) {
          for (int64_t k = 0; k < depth; k++) {
            const float* const from =
                values + ((panel * kAmxPanel + n) * channels + block * kTileDepth + k) * taps;
            for (int64_t tap = 0; tap < taps; tap++) {
              const at::BFloat16 high(from[tap]);
              at::BFloat16* const part = out + tap * parts * kPartValues + Place(k, n);
              if (split) part[0] = at::BFloat16(from[tap] - static_cast<float>(high));
              part[(parts - 1) * kPartValues] = high;
            }
          }
        }
      }
    }
  });
  return packed;
}

}  // namespace

at::Tensor PackAmx(const at::Tensor& weight) {
  return Pack(weight.to(at::kFloat).contiguous(), weight.scalar_type() == at::kFloat);
}

at::Tensor PackAmxUpsampling(const at::Tensor& weight) {
  // A pixel that covers two rows (or columns) of taps gets their sum. In phase 0 the first row
  // belongs to the pixel above; in phase 1 the last row belongs to the pixel below.
  const at::Tensor plain = weight.to(at::kDouble);
  const auto halves = [](const at::Tensor& taps, int64_t dim, int64_t phase) {
    const at::Tensor first = taps.narrow(dim, 0, 1), middle = taps.narrow(dim, 1, 1),
                     last = taps.narrow(dim, 2, 1);
    return phase == 0 ? at::cat({first, at::add(middle, last)}, dim)
                      : at::cat({at::add(first, middle), last}, dim);
  };
  std::vector<at::Tensor> phases;
  for (int64_t phase = 0; phase < 4; phase++) {
    const at::Tensor taps = halves(halves(plain, 2, phase / 2), 3, phase % 2).to(at::kFloat);
    phases.push_back(Pack(taps.contiguous(), weight.scalar_type() == at::kFloat));
  }
  return at::stack(phases, 1).flatten(0, 1);
}

}  // namespace latent_diffusion
