#include "binding/values.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "checkpoint/host_tensor.h"

namespace latent_diffusion {
namespace {

constexpr std::array<std::pair<const char*, c10::ScalarType>, 10> kDtypes = {{
    {"float32", c10::ScalarType::Float},
    {"float64", c10::ScalarType::Double},
    {"float16", c10::ScalarType::Half},
    {"bfloat16", c10::ScalarType::BFloat16},
    {"int64", c10::ScalarType::Long},
    {"int32", c10::ScalarType::Int},
    {"int16", c10::ScalarType::Short},
    {"int8", c10::ScalarType::Char},
    {"uint8", c10::ScalarType::Byte},
    {"bool", c10::ScalarType::Bool},
}};

[[noreturn]] void ThrowUnexpected(const std::string& expected) {
  throw CodedError("ERR_INVALID_ARGUMENT", "Expected " + expected + " in a native call");
}

// The limit of typed arrays in Node 20; later versions differ.
constexpr int64_t kMostElements = int64_t{1} << 32;

// More than any network has weights.
constexpr uint32_t kMostListed = uint32_t{1} << 20;

struct ArrayView {
  napi_typedarray_type type = napi_uint8_array;
  const uint8_t* data = nullptr;
  size_t bytes = 0;
};

size_t ElementBytes(napi_typedarray_type type) {
  switch (type) {
    case napi_float64_array:
    case napi_bigint64_array:
    case napi_biguint64_array:
      return 8;
    case napi_float32_array:
    case napi_int32_array:
    case napi_uint32_array:
      return 4;
    case napi_int16_array:
    case napi_uint16_array:
      return 2;
    default:
      return 1;
  }
}

ArrayView ViewOf(const Napi::Value& value) {
  if (!value.IsTypedArray()) ThrowUnexpected("a typed array");
  ArrayView view;
  size_t length = 0;
  size_t offset = 0;
  void* data = nullptr;
  napi_value buffer = nullptr;
  napi_status status =
      napi_get_typedarray_info(value.Env(), value, &view.type, &length, &data, &buffer, &offset);
  if (status != napi_ok) ThrowUnexpected("a typed array that can be read");
  if (!Napi::Value(value.Env(), buffer).IsArrayBuffer()) {
    ThrowUnexpected("a typed array that is not over shared memory");
  }
  // The length of the buffer itself decides.
  size_t held = 0;
  void* start = nullptr;
  status = napi_get_arraybuffer_info(value.Env(), buffer, &start, &held);
  view.bytes = length * ElementBytes(view.type);
  if (status != napi_ok || offset > held || view.bytes > held - offset) {
    ThrowUnexpected("a typed array that lies within its buffer");
  }
  view.data = view.bytes == 0 ? nullptr : static_cast<const uint8_t*>(start) + offset;
  return view;
}

napi_typedarray_type ArrayType(c10::ScalarType dtype) {
  switch (dtype) {
    case c10::ScalarType::Float:
      return napi_float32_array;
    case c10::ScalarType::Double:
      return napi_float64_array;
    case c10::ScalarType::Long:
      return napi_bigint64_array;
    case c10::ScalarType::Int:
      return napi_int32_array;
    case c10::ScalarType::Short:
      return napi_int16_array;
    case c10::ScalarType::Char:
      return napi_int8_array;
    case c10::ScalarType::Byte:
      return napi_uint8_array;
    default:
      throw CodedError("ERR_INTERNAL", "JavaScript has no typed array for " + DtypeName(dtype));
  }
}

// Uses JavaScript's own constructor, which throws if there is no memory. Node-API's function would
// end the process.
Napi::ArrayBuffer NewArrayBuffer(Napi::Env env, size_t bytes) {
  Napi::Value buffer;
  try {
    const auto constructor = env.Global().Get("ArrayBuffer").As<Napi::Function>();
    buffer = constructor.New({Napi::Number::New(env, static_cast<double>(bytes))});
  } catch (const Napi::Error&) {
    throw CodedError("ERR_OUT_OF_MEMORY", "JavaScript has no memory for an array of " +
                                              std::to_string(bytes) + " bytes");
  }
  if (!buffer.IsArrayBuffer() || buffer.As<Napi::ArrayBuffer>().ByteLength() != bytes)
    throw CodedError("ERR_INTERNAL", "The global ArrayBuffer is not JavaScript's own");
  return buffer.As<Napi::ArrayBuffer>();
}

// For an expanded tensor, the bytes that it holds, not the elements that it shows.
int64_t BytesHeld(const at::Tensor& tensor) {
  const size_t shown = tensor.nbytes();
  return static_cast<int64_t>(tensor.has_storage() ? std::min(shown, tensor.storage().nbytes())
                                                   : shown);
}

}  // namespace

std::string DtypeName(c10::ScalarType dtype) {
  for (const auto& [name, value] : kDtypes) {
    if (value == dtype) return name;
  }
  throw CodedError("ERR_TORCH",
                   std::string("The dtype ") + c10::toString(dtype) + " is not supported");
}

c10::ScalarType ParseDtype(const std::string& name) {
  for (const auto& [known, value] : kDtypes) {
    if (name == known) return value;
  }
  ThrowUnexpected("a dtype, not \"" + name + "\",");
}

c10::ScalarType ToDtype(const Napi::Value& value) { return ParseDtype(ToString(value)); }

std::optional<c10::ScalarType> ToOptionalDtype(const Napi::Value& value) {
  if (value.IsNull() || value.IsUndefined()) return std::nullopt;
  return ToDtype(value);
}

c10::Device ParseDevice(const std::string& name) {
  const c10::Device device(name);
  if (device.is_cuda() && !device.has_index()) return {c10::kCUDA, 0};
  return device;
}

c10::Device ToDevice(const Napi::Value& value) { return ParseDevice(ToString(value)); }

std::string ToString(const Napi::Value& value) {
  if (!value.IsString()) ThrowUnexpected("a string");
  return value.As<Napi::String>();
}

std::string ToPath(const Napi::Value& value) {
  std::string path = ToString(value);
  if (path.find('\0') != std::string::npos) ThrowUnexpected("a path without a NUL");
  return path;
}

bool ToBool(const Napi::Value& value) {
  if (!value.IsBoolean()) ThrowUnexpected("a boolean");
  return value.As<Napi::Boolean>();
}

int64_t ToInt64(const Napi::Value& value) {
  if (value.IsNumber()) {
    const double number = value.As<Napi::Number>();
    // Integers within +-2^53 are exact; above that, a double is not an exact count.
    if (number == std::trunc(number) && std::fabs(number) <= 9007199254740992.0) {
      return static_cast<int64_t>(number);
    }
  }
  ThrowUnexpected("an integer");
}

std::vector<Napi::Value> ToElements(const Napi::Value& value) {
  if (!value.IsArray()) ThrowUnexpected("an array");
  const auto array = value.As<Napi::Array>();
  const uint32_t length = array.Length();
  // A sparse array can have 2^32 - 1 elements and hold none of them.
  if (length > kMostListed) {
    ThrowUnexpected("an array of at most " + std::to_string(kMostListed) + " elements");
  }
  std::vector<Napi::Value> elements;
  elements.reserve(length);
  for (uint32_t i = 0; i < length; i++) elements.push_back(array.Get(i));
  return elements;
}

std::vector<int64_t> ToShape(const Napi::Value& value) {
  std::vector<int64_t> shape;
  for (const Napi::Value& element : ToElements(value)) shape.push_back(ToInt64(element));
  return shape;
}

Napi::Value FromShape(Napi::Env env, const std::vector<int64_t>& shape) {
  auto array = Napi::Array::New(env, shape.size());
  for (uint32_t i = 0; i < shape.size(); i++) {
    array.Set(i, Napi::Number::New(env, static_cast<double>(shape[i])));
  }
  return array;
}

std::vector<uint8_t> ToBytes(const Napi::Value& value) {
  const ArrayView view = ViewOf(value);
  if (view.type != napi_uint8_array) ThrowUnexpected("a Uint8Array");
  return view.bytes == 0 ? std::vector<uint8_t>()
                         : std::vector<uint8_t>(view.data, view.data + view.bytes);
}

at::Tensor TensorFromArray(const Napi::Value& value, const std::vector<int64_t>& shape,
                           c10::ScalarType dtype) {
  at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(dtype));
  // Read after the tensor was made and directly before the copy; no JavaScript runs in between.
  const ArrayView view = ViewOf(value);
  if (view.type != ArrayType(dtype)) ThrowUnexpected("a typed array of " + DtypeName(dtype));
  if (tensor.nbytes() != view.bytes) {
    throw CodedError("ERR_INVALID_ARGUMENT", "The typed array's length does not fit the shape");
  }
  if (view.bytes > 0) std::memcpy(tensor.mutable_data_ptr(), view.data, view.bytes);
  return tensor;
}

at::Tensor ForArray(const at::Tensor& tensor) {
  if (tensor.numel() > kMostElements) {
    throw CodedError("ERR_INVALID_ARGUMENT", "Expected a tensor of at most " +
                                                 std::to_string(kMostElements) +
                                                 " elements for a typed array but received " +
                                                 std::to_string(tensor.numel()) + " elements");
  }
  at::Tensor host = ToHost(tensor);
  if (host.scalar_type() == c10::ScalarType::Half ||
      host.scalar_type() == c10::ScalarType::BFloat16) {
    host = host.to(c10::ScalarType::Float);
  } else if (host.scalar_type() == c10::ScalarType::Bool) {
    host = host.to(c10::ScalarType::Byte);
  }
  return host;
}

Napi::Value ArrayFromTensor(Napi::Env env, const at::Tensor& tensor) {
  auto buffer = NewArrayBuffer(env, tensor.nbytes());
  if (tensor.nbytes() > 0) std::memcpy(buffer.Data(), tensor.const_data_ptr(), tensor.nbytes());
  napi_value array = nullptr;
  const napi_status status = napi_create_typedarray(
      env, ArrayType(tensor.scalar_type()), static_cast<size_t>(tensor.numel()), buffer, 0, &array);
  if (status != napi_ok) throw Napi::Error::New(env);
  return {env, array};
}

Napi::Value FromTensor(Napi::Env env, const at::Tensor& tensor) {
  return MakeHandle(env, std::make_shared<at::Tensor>(tensor), BytesHeld(tensor));
}

at::Tensor ToTensor(const Napi::Value& value) { return *FromHandle<at::Tensor>(value); }

}  // namespace latent_diffusion
