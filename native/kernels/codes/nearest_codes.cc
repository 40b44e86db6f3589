#include "kernels/codes/nearest_codes.h"

#include <ATen/Parallel.h>
#include <ATen/ops/argmin.h>
#include <ATen/ops/cdist.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>

#include "kernels/divide_up.h"
#include "kernels/scratch.h"
#include "kernels/simd/cpu_kernels.h"

namespace latent_diffusion {
namespace {

// Codes that stay in a core's second-level cache for a whole block of rows.
constexpr int64_t kChunkFloats = 64 << 10;
constexpr int64_t kBlockRows = 256;
// The least work for which waking another thread pays.
constexpr int64_t kLeastDifferences = 1 << 17;

thread_local Scratch code_scratch;

at::Tensor ToFloats(const at::Tensor& values) {
  return values.scalar_type() == at::kDouble ? values : values.to(at::kFloat).contiguous();
}

bool IsFinite(const at::Tensor& floats) {
  constexpr uint32_t kExponent = 0x7f800000;
  const auto* const values = floats.const_data_ptr<float>();
  uint32_t found = 0;
  for (int64_t i = 0; i < floats.numel(); i++)
    found |= (std::bit_cast<uint32_t>(values[i]) & kExponent) == kExponent ? 1 : 0;
  return found == 0;
}

// If all values are finite, no distance is NaN; the kernel cannot order NaN.
bool Suits(const at::Tensor& z, const at::Tensor& codes) {
  return FindCpuKernels() != nullptr && z.dim() == 2 && codes.dim() == 2 &&
         z.size(1) == codes.size(1) && codes.size(0) > 0 &&
         codes.size(0) <= std::numeric_limits<int32_t>::max() / 2 &&
         z.scalar_type() == at::kFloat && codes.scalar_type() == at::kFloat && IsFinite(z) &&
         IsFinite(codes);
}

// [panel][size][codes of the panel]; missing codes at the end are infinitely far.
float* PackCodes(const at::Tensor& codes, int64_t lanes) {
  const int64_t count = codes.size(0);
  const int64_t size = codes.size(1);
  const auto* const values = codes.const_data_ptr<float>();
  const int64_t panels = DivideUp(count, lanes);
  float* const packed = code_scratch.Floats(static_cast<size_t>(panels * lanes * size));
  const int64_t grain = DivideUp(kLeastDifferences, std::max<int64_t>(1, lanes * size));
  at::parallel_for(0, panels, grain, [&](int64_t begin, int64_t end) {
    for (int64_t code = begin * lanes; code < end * lanes; code++) {
      float* const to = packed + code / lanes * lanes * size + code % lanes;
      for (int64_t i = 0; i < size; i++) {
        to[i * lanes] =
            code < count ? values[code * size + i] : std::numeric_limits<float>::infinity();
      }
    }
  });
  return packed;
}

// A few rows are compared with all codes, chunk by chunk.
void SearchBlock(const CpuKernels& kernels, CodeSearch work, int64_t panels) {
  std::array<float, kBlockRows> distances;
  distances.fill(std::numeric_limits<float>::infinity());
  work.distances = distances.data();
  const float* const packed = work.panels;
  const int64_t panel_floats = kernels.lanes * work.size;
  const int64_t chunk = std::max<int64_t>(1, kChunkFloats / std::max<int64_t>(1, panel_floats));
  for (int64_t panel = 0; panel < panels; panel += chunk) {
    work.panels = packed + panel * panel_floats;
    work.panel_count = std::min(chunk, panels - panel);
    work.first = panel * kernels.lanes;
    kernels.search_codes(work);
  }
}

}  // namespace

at::Tensor NearestCodes(const at::Tensor& z, const at::Tensor& codes) {
  // LibTorch refuses integers with its own message.
  if (!z.is_floating_point() || !codes.is_floating_point())
    return at::argmin(at::cdist(z, codes), 1);
  const at::Tensor rows = ToFloats(z);
  const at::Tensor book = ToFloats(codes);
  if (!Suits(rows, book)) return at::argmin(at::cdist(rows, book), 1);
  const CpuKernels& kernels = *FindCpuKernels();
  const int64_t size = rows.size(1);
  const int64_t panels = DivideUp(book.size(0), kernels.lanes);
  const float* const packed = PackCodes(book, kernels.lanes);
  // Zeros: if every distance overflows, all codes are equally near.
  at::Tensor nearest = at::zeros({rows.size(0)}, rows.options().dtype(at::kLong));
  const auto* const values = rows.const_data_ptr<float>();
  auto* const indices = nearest.mutable_data_ptr<int64_t>();
  const int64_t grain =
      DivideUp(kLeastDifferences, std::max<int64_t>(1, panels * kernels.lanes * size));
  at::parallel_for(0, rows.size(0), grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row += kBlockRows) {
      SearchBlock(kernels,
                  {values + row * size, std::min(kBlockRows, end - row), size, packed,
                   /*panel_count=*/0, /*first=*/0, /*distances=*/nullptr, indices + row},
                  panels);
    }
  });
  code_scratch.Trim();
  return nearest;
}

}  // namespace latent_diffusion
