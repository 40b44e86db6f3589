// JavaScript values <-> ATen's plain values: dtypes, devices, shapes, typed arrays.
// Thread: JavaScript.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>
#include <napi.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "binding/handle.h"

namespace at {
class Tensor;
struct Generator;
}  // namespace at

namespace latent_diffusion {

template <>
struct HandleName<at::Tensor> {
  static constexpr const char* value = "tensor";
};

template <>
struct HandleName<at::Generator> {
  static constexpr const char* value = "generator";
};

// PyTorch's name without "torch.".
std::string DtypeName(c10::ScalarType dtype);
c10::ScalarType ParseDtype(const std::string& name);
c10::ScalarType ToDtype(const Napi::Value& value);
std::optional<c10::ScalarType> ToOptionalDtype(const Napi::Value& value);

// "cpu" or "cuda:0"; always with an index for CUDA.
c10::Device ParseDevice(const std::string& name);
c10::Device ToDevice(const Napi::Value& value);

std::string ToString(const Napi::Value& value);
// Refuses a NUL, where the system would end the name and open another file.
std::string ToPath(const Napi::Value& value);
bool ToBool(const Napi::Value& value);
int64_t ToInt64(const Napi::Value& value);
std::vector<int64_t> ToShape(const Napi::Value& value);
// The elements of an array. The length is read once. An element may be a getter that grows or
// shrinks the array, and nothing may be written past the end of the vector that was sized before.
std::vector<Napi::Value> ToElements(const Napi::Value& value);
Napi::Value FromShape(Napi::Env env, const std::vector<int64_t>& shape);

// A copy of the bytes of a typed array. Address and length are read from V8 together, so that they
// describe the same moment. A detached or shrunk buffer gives the bytes that are left. Shared
// memory is refused, because another thread may write while it is read.
std::vector<uint8_t> ToBytes(const Napi::Value& value);
// Copies a typed array into a new tensor on the CPU.
at::Tensor TensorFromArray(const Napi::Value& array, const std::vector<int64_t>& shape,
                           c10::ScalarType dtype);

// Prepares a tensor for a typed array: on the CPU, contiguous, with a dtype that JavaScript has.
// Refuses what no array can hold before it copies anything. Thread: any.
at::Tensor ForArray(const at::Tensor& tensor);
// Throws ERR_OUT_OF_MEMORY if JavaScript has no memory for the copy.
Napi::Value ArrayFromTensor(Napi::Env env, const at::Tensor& tensor);

Napi::Value FromTensor(Napi::Env env, const at::Tensor& tensor);
at::Tensor ToTensor(const Napi::Value& value);

}  // namespace latent_diffusion
