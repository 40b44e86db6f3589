// The kernels for CPUs that multiply matrices of bfloat16 (Intel AMX). In float32 a value is the sum
// of two of bfloat16, high and low, and a product is three: high * high + high * low + low * high,
// which PyTorch calls "bfloat16x3": relative error about 2^-17, summed in float32.
// Thread: any; they touch nothing but what they are given.
#pragma once

#include <stdint.h>

namespace latent_diffusion {

struct AmxKernels {};

// Null where the CPU has no AMX, the system forbids it, or ATEN_CPU_CAPABILITY asks for less than
// AVX-512.
const AmxKernels* FindAmxKernels();

const AmxKernels* CompiledAmxKernels();

}  // namespace latent_diffusion
