// Exponentials over vectors. Included by the files of simd/ only.
#pragma once

#include "kernels/simd/vector.h"

namespace latent_diffusion {
namespace {

// Adding 1.5 * 2^23 leaves the nearest whole number in the low bits.
constexpr float kRoundingMagic = 12582912.0F;

// value * 2^n, where `shifted` is n + kRoundingMagic. The low nine bits of kRoundingMagic are zero.
inline Vector ScaleByPower(Vector value, Vector shifted) {
  return reinterpret_cast<Vector>(reinterpret_cast<Bits>(value) +
                                  (reinterpret_cast<Bits>(shifted) << 23));
}

// The error is at most 2 units in the last place. The result is never 0 or infinite.
inline Vector Exp(Vector x) {
  const Vector low = Broadcast(-87.0F), high = Broadcast(88.0F);
  x = x < low ? low : x;
  x = x > high ? high : x;
  const Vector shifted = x * 1.44269504F + kRoundingMagic;
  const Vector whole = shifted - kRoundingMagic;
  // ln 2 in two parts. The product of the first part with a small whole number is exact.
  const Vector r = (x - whole * 0.693359375F) + whole * 2.12194440e-4F;
  Vector p = r * 1.9875691500e-4F + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * (r * r) + r + 1.0F;
  return ScaleByPower(p, shifted);
}

// 2^x for x <= 0, at least about 2^-126; NaN stays NaN. The relative error is 1e-7, or 8e-5 if
// `kRough`: the polynomials have the least error on [-1/2, 1/2].
template <bool kRough>
inline Vector Exp2(Vector x) {
  const Vector low = Broadcast(-126.0F);
  x = low > x ? low : x;
  const Vector shifted = x + kRoundingMagic;
  const Vector r = x - (shifted - kRoundingMagic);
  Vector p;
  if constexpr (kRough) {
    p = r * 5.517166906e-2F + 2.426111222e-1F;
    p = p * r + 6.932609855e-1F;
    p = p * r + 9.999280735e-1F;
  } else {
    p = r * 1.327647199e-3F + 9.675541334e-3F;
    p = p * r + 5.550713273e-2F;
    p = p * r + 2.402211972e-1F;
    p = p * r + 6.931469671e-1F;
    p = p * r + 1.0F;
  }
  return ScaleByPower(p, shifted);
}

}  // namespace
}  // namespace latent_diffusion
