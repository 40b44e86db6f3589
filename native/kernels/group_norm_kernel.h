// Group norm and SiLU over vectors of channels. Included by the files of instruction_sets/ only.
#pragma once

#include "kernels/cpu_kernels.h"
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

// Sums over pixels of differences from the first pixel and of their squares, a channel each: sums
// of the values themselves would leave nothing of a variance that is small beside the mean.
template <typename Element>
void Moments(const void* in, int64_t pixels, int64_t channels, float* pivots, float* sums,
             float* squares) {
  const auto* const x = static_cast<const Element*>(in);
  for (int64_t channel = 0; channel < channels; channel += kLanes) {
    const int64_t count = channels - channel;
    const Vector pivot = LoadUpTo(x + channel, count);
    Vector sum{}, square{};
    for (int64_t pixel = 1; pixel < pixels; pixel++) {
      const Vector value = LoadUpTo(x + pixel * channels + channel, count) - pivot;
      sum += value;
      square += value * value;
    }
    StoreUpTo(pivots + channel, pivot, count);
    StoreUpTo(sums + channel, sum, count);
    StoreUpTo(squares + channel, square, count);
  }
}

template <typename Element, bool kSilu>
void ScalePixels(const ScaleAndShift& work) {
  const auto* x = static_cast<const Element*>(work.in);
  auto* y = static_cast<Element*>(work.out);
  for (int64_t pixel = 0; pixel < work.pixels; pixel++) {
    for (int64_t channel = 0; channel < work.channels; channel += kLanes) {
      const int64_t count = work.channels - channel;
      const Vector scale = LoadUpTo(work.scale + channel, count);
      const Vector value =
          LoadUpTo(x + channel, count) * scale + LoadUpTo(work.shift + channel, count);
      StoreUpTo(y + channel, kSilu ? Silu(value) : value, count);
    }
    x += work.channels;
    y += work.channels;
  }
}

}  // namespace
}  // namespace latent_diffusion
