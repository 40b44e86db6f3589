#include "binding/ivalues.h"

#include <ATen/core/Generator.h>
#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <ATen/core/jit_type.h>

#include <cmath>
#include <string>
#include <vector>

#include "binding/values.h"

namespace latent_diffusion {
namespace {

c10::IValue ToIValue(const Napi::Value& value, const c10::Type& type);

[[noreturn]] void ThrowUnexpected(const c10::Type& type) {
  throw CodedError("ERR_INVALID_ARGUMENT", "Expected a value of type " + type.str());
}

c10::IValue ToNumber(const Napi::Value& value) {
  const double number = value.As<Napi::Number>();
  // Integers have no negative zero. Above 2^53 a double is not an exact count.
  const bool integral = number == std::trunc(number) && std::fabs(number) <= 9007199254740992.0 &&
                        !(number == 0 && std::signbit(number));
  // JavaScript has one number type. As an int it takes part in type promotion as Python's int does:
  // it never turns an integer tensor into a floating one. Next to a floating tensor, an int and a
  // float mean the same.
  return integral ? c10::IValue(static_cast<int64_t>(number)) : c10::IValue(number);
}

c10::IValue ToList(const Napi::Value& value, const c10::Type& element) {
  if (!value.IsArray()) ThrowUnexpected(element);
  if (element.kind() == c10::TypeKind::TensorType) {
    std::vector<at::Tensor> tensors;
    for (const Napi::Value& item : ToElements(value)) tensors.push_back(ToTensor(item));
    return tensors;
  }
  if (element.kind() == c10::TypeKind::IntType || element.kind() == c10::TypeKind::SymIntType) {
    return ToShape(value);
  }
  ThrowUnexpected(element);
}

c10::IValue ToIValue(const Napi::Value& value, const c10::Type& type) {
  switch (type.kind()) {
    case c10::TypeKind::OptionalType:
      if (value.IsNull()) return {};
      return ToIValue(value, *type.expectRef<c10::OptionalType>().getElementType());
    case c10::TypeKind::TensorType:
      return ToTensor(value);
    case c10::TypeKind::ListType:
      return ToList(value, *type.expectRef<c10::ListType>().getElementType());
    case c10::TypeKind::NumberType:
      if (!value.IsNumber()) ThrowUnexpected(type);
      return ToNumber(value);
    case c10::TypeKind::FloatType:
      if (!value.IsNumber()) ThrowUnexpected(type);
      return value.As<Napi::Number>().DoubleValue();
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType:
      return ToInt64(value);
    case c10::TypeKind::ScalarTypeType:
      // The interpreter represents dtypes as ints. Only names are accepted here, so none is out of
      // range.
      return static_cast<int64_t>(ToDtype(value));
    case c10::TypeKind::BoolType:
      return ToBool(value);
    case c10::TypeKind::StringType:
      return ToString(value);
    case c10::TypeKind::DeviceObjType:
      return ToDevice(value);
    case c10::TypeKind::GeneratorType:
      return *FromHandle<at::Generator>(value);
    default:
      ThrowUnexpected(type);
  }
}

// Adds the argument's name to an error, which the conversion does not know.
c10::IValue ToArgument(const Napi::Value& value, const c10::FunctionSchema& schema, size_t index) {
  const c10::Argument& argument = schema.arguments()[index];
  try {
    return ToIValue(value, *argument.real_type());
  } catch (const CodedError& error) {
    throw CodedError(error.code(), std::string(error.what()) + " for the argument " +
                                       argument.name() + " of " + schema.name());
  }
}

}  // namespace

void PushArguments(const c10::FunctionSchema& schema, size_t first, const Napi::Value& values,
                   torch::jit::Stack& stack) {
  if (!values.IsArray()) throw CodedError("ERR_INVALID_ARGUMENT", "Expected an array of arguments");
  const std::vector<Napi::Value> given = ToElements(values);
  const auto& arguments = schema.arguments();
  if (given.size() > arguments.size() - first) {
    throw CodedError("ERR_INVALID_ARGUMENT",
                     schema.name() + " takes " + std::to_string(arguments.size() - first) +
                         " arguments but received " + std::to_string(given.size()));
  }
  for (size_t i = first; i < arguments.size(); i++) {
    const size_t index = i - first;
    const Napi::Value value = index < given.size() ? given[index] : values.Env().Undefined();
    if (!value.IsUndefined()) {
      stack.push_back(ToArgument(value, schema, i));
    } else if (arguments[i].default_value()) {
      stack.push_back(*arguments[i].default_value());
    } else {
      throw CodedError("ERR_INVALID_ARGUMENT",
                       schema.name() + " was called without its argument " + arguments[i].name());
    }
  }
}

Napi::Value FromIValue(Napi::Env env, const c10::IValue& value) {
  if (value.isTensor()) return FromTensor(env, value.toTensor());
  if (value.isDouble()) return Napi::Number::New(env, value.toDouble());
  if (value.isInt()) return Napi::Number::New(env, static_cast<double>(value.toInt()));
  if (value.isBool()) return Napi::Boolean::New(env, value.toBool());
  if (value.isString()) return Napi::String::New(env, value.toStringRef());
  if (value.isNone()) return env.Null();
  if (value.isTuple() || value.isList()) {
    const auto elements =
        value.isTuple() ? value.toTupleRef().elements().vec() : value.toListRef().vec();
    auto array = Napi::Array::New(env, elements.size());
    for (uint32_t i = 0; i < elements.size(); i++) array.Set(i, FromIValue(env, elements[i]));
    return array;
  }
  throw CodedError("ERR_TORCH",
                   "A result of type " + value.tagKind() + " cannot be returned to JavaScript");
}

}  // namespace latent_diffusion
