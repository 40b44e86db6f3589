// The vector types of the kernels, of LATENT_DIFFUSION_VECTOR_BYTES, which each file of simd/
// defines before it includes this. Everything here and in the kernels has internal linkage, and
// nothing from the standard library is used: the linker must never merge a function compiled for
// one instruction set with its namesake of another. Thread: any.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace latent_diffusion {
namespace {

constexpr int kVectorBytes = LATENT_DIFFUSION_VECTOR_BYTES;
// Floats in a vector.
constexpr int kLanes = kVectorBytes / 4;

typedef float Vector __attribute__((vector_size(kVectorBytes)));
typedef uint32_t Bits __attribute__((vector_size(kVectorBytes)));
typedef int32_t Integers __attribute__((vector_size(kVectorBytes)));
typedef uint16_t Halves __attribute__((vector_size(kVectorBytes / 2)));

// bfloat16 in memory.
struct BFloat16 {
  uint16_t bits;
};

inline Vector Broadcast(float value) { return value - Vector{}; }

inline Vector Load(const float* from) {
  Vector vector;
  __builtin_memcpy(&vector, from, sizeof(vector));
  return vector;
}

inline void Store(float* to, Vector vector) { __builtin_memcpy(to, &vector, sizeof(vector)); }

inline Vector Load(const BFloat16* from) {
  Halves halves;
  __builtin_memcpy(&halves, from, sizeof(halves));
  return reinterpret_cast<Vector>(__builtin_convertvector(halves, Bits) << 16);
}

// Rounds to nearest, ties to even, as PyTorch does.
inline void Store(BFloat16* to, Vector vector) {
  const Bits bits = reinterpret_cast<Bits>(vector);
  const Bits rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Bits result = vector == vector ? rounded : Bits{} + 0x7fc0;
  const Halves halves = __builtin_convertvector(result, Halves);
  __builtin_memcpy(to, &halves, sizeof(halves));
}

// Loads the first `count` lanes; the others are zero.
template <typename Element>
inline Vector LoadPart(const Element* from, int count) {
  Element padded[kLanes] = {};
  __builtin_memcpy(padded, from, static_cast<size_t>(count) * sizeof(Element));
  return Load(padded);
}

template <typename Element>
inline void StorePart(Element* to, Vector vector, int count) {
  Element padded[kLanes];
  Store(padded, vector);
  __builtin_memcpy(to, padded, static_cast<size_t>(count) * sizeof(Element));
}

template <typename Element>
inline Vector LoadUpTo(const Element* from, int64_t count) {
  return count >= kLanes ? Load(from) : LoadPart(from, static_cast<int>(count));
}

template <typename Element>
inline void StoreUpTo(Element* to, Vector vector, int64_t count) {
  if (count >= kLanes) {
    Store(to, vector);
  } else {
    StorePart(to, vector, static_cast<int>(count));
  }
}

}  // namespace
}  // namespace latent_diffusion
