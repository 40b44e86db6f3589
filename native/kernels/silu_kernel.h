// SiLU over vectors. Included by the files of instruction_sets/ only.
#pragma once

#include "kernels/vector.h"

namespace latent_diffusion {
namespace {

// Within 2 units in the last place; 0 and infinity are never reached.
inline Vector Exp(Vector x) {
  const Vector low = Broadcast(-87.0F), high = Broadcast(88.0F);
  x = x < low ? low : x;
  x = x > high ? high : x;
  // Adding 1.5 * 2^23 leaves the nearest whole number in the low bits.
  const Vector magic = Broadcast(12582912.0F);
  const Vector shifted = x * 1.44269504F + magic;
  const Vector whole = shifted - magic;
  // ln 2 in two parts, the first exact in a product with a small whole number.
  const Vector r = (x - whole * 0.693359375F) + whole * 2.12194440e-4F;
  Vector p = r * 1.9875691500e-4F + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * (r * r) + r + 1.0F;
  const Bits exponent = (reinterpret_cast<Bits>(shifted) - reinterpret_cast<Bits>(magic)) << 23;
  return reinterpret_cast<Vector>(reinterpret_cast<Bits>(p) + exponent);
}

inline Vector Silu(Vector x) { return x / (1.0F + Exp(-x)); }

}  // namespace
}  // namespace latent_diffusion
