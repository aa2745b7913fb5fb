#include "binding/convert.h"

#include <algorithm>

namespace zazen::binding {
namespace {

Napi::Value field(const Napi::Object& object, const char* key, bool valid, const char* expected) {
  ZAZEN_CHECK(valid, "BAD_ARGUMENT", "[native] ", key, ": expected ", expected);
  return object.Get(key);
}

template <class Array>
Array typed(const Napi::Object& object, const char* key, napi_typedarray_type type, const char* expected) {
  const Napi::Value value = object.Get(key);
  const bool valid = value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type;
  return field(object, key, valid, expected).As<Array>();
}

// The place of a field's text in a list, as a value of the enumeration that the list spells.
template <class Enum>
Enum choice(const Napi::Object& object, const char* key, const std::vector<std::string>& names) {
  const auto found = std::find(names.begin(), names.end(), string(object, key));
  ZAZEN_CHECK(found != names.end(), "BAD_ARGUMENT", "[native] ", key, ": expected one of its names");
  return static_cast<Enum>(found - names.begin());
}

bool absent(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  return value.IsUndefined() || value.IsNull();
}

}  // namespace

double number(const Napi::Object& object, const char* key) {
  return field(object, key, object.Get(key).IsNumber(), "a number").As<Napi::Number>().DoubleValue();
}
int64_t integer(const Napi::Object& object, const char* key) {
  return field(object, key, object.Get(key).IsNumber(), "an integer").As<Napi::Number>().Int64Value();
}
bool boolean(const Napi::Object& object, const char* key) {
  return field(object, key, object.Get(key).IsBoolean(), "a boolean").As<Napi::Boolean>().Value();
}
std::string string(const Napi::Object& object, const char* key) {
  return field(object, key, object.Get(key).IsString(), "a string").As<Napi::String>().Utf8Value();
}
std::vector<std::string> strings(const Napi::Object& object, const char* key) {
  const auto array = field(object, key, object.Get(key).IsArray(), "a list of strings").As<Napi::Array>();
  std::vector<std::string> out;
  for (uint32_t i = 0; i < array.Length(); ++i) out.push_back(string(array, std::to_string(i).c_str()));
  return out;
}
DType dtype(const Napi::Object& object, const char* key) {
  const std::string name = string(object, key);
  ZAZEN_CHECK(name == "float32" || name == "bfloat16", "BAD_ARGUMENT", "[native] expected ", key, " float32 or bfloat16, got ",
              name);
  return name == "bfloat16" ? DType::bf16 : DType::f32;
}

PolicyLossArgs policy_loss_args(const Napi::Object& object) {
  const auto real = [&](const char* key) { return static_cast<float>(number(object, key)); };
  return {real("clipLow"),
          real("clipHigh"),
          real("dualClip"),
          real("klCoefficient"),
          real("entropyCoefficient"),
          choice<RatioLevel>(object, "ratio", {"token", "sequence"}),
          choice<Objective>(object, "objective", {"clip", "cispo"}),
          choice<KlEstimator>(object, "klEstimator", {"k1", "k2", "k3"}),
          real("klMaxLogRatio"),
          real("klMax")};
}

Napi::Object policy_sums_object(Napi::Env env, const PolicyLossSums& sums) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("loss", sums.loss);
  out.Set("kl", sums.kl);
  out.Set("ratio", sums.ratio);
  out.Set("clipped", sums.clipped);
  out.Set("clippedLow", sums.clipped_low);
  out.Set("clippedHigh", sums.clipped_high);
  out.Set("entropy", sums.entropy);
  out.Set("maxAbsDrift", sums.max_abs_drift);
  out.Set("tokens", static_cast<double>(sums.tokens));
  return out;
}

DpoLossArgs dpo_loss_args(const Napi::Object& object) {
  return {static_cast<float>(number(object, "beta")), static_cast<float>(number(object, "labelSmoothing"))};
}

Napi::Object pair_sums_object(Napi::Env env, const PairSums& sums) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("count", static_cast<double>(sums.pairs));
  out.Set("chosen", sums.chosen);
  out.Set("rejected", sums.rejected);
  out.Set("chosenLogprob", sums.chosen_logp);
  out.Set("rejectedLogprob", sums.rejected_logp);
  out.Set("accurate", static_cast<double>(sums.accurate));
  return out;
}

Napi::Object value_sums_object(Napi::Env env, const ValueSums& sums) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("tokens", static_cast<double>(sums.tokens));
  out.Set("clipped", static_cast<double>(sums.clipped));
  out.Set("values", sums.values);
  out.Set("returns", sums.returns);
  out.Set("squaredReturns", sums.squared_returns);
  out.Set("errors", sums.errors);
  out.Set("squaredErrors", sums.squared_errors);
  out.Set("maxAbsDrift", sums.max_abs_drift);
  return out;
}

Napi::Object object(const Napi::Value& value, const char* where) {
  ZAZEN_CHECK(value.IsObject(), "BAD_ARGUMENT", "[native] ", where, ": expected an object");
  return value.As<Napi::Object>();
}

Napi::Float32Array float_array(const Napi::Object& object, const char* key) {
  return typed<Napi::Float32Array>(object, key, napi_float32_array, "a Float32Array");
}
Napi::Int32Array int_array(const Napi::Object& object, const char* key) {
  return typed<Napi::Int32Array>(object, key, napi_int32_array, "an Int32Array");
}
std::vector<float> floats(const Napi::Object& object, const char* key) {
  if (absent(object, key)) return {};
  const auto array = float_array(object, key);
  return {array.Data(), array.Data() + array.ElementLength()};
}
std::vector<int32_t> ints(const Napi::Object& object, const char* key) {
  if (absent(object, key)) return {};
  const auto array = int_array(object, key);
  return {array.Data(), array.Data() + array.ElementLength()};
}
std::vector<uint8_t> bytes(const Napi::Object& object, const char* key) {
  if (absent(object, key)) return {};
  const auto array = typed<Napi::Uint8Array>(object, key, napi_uint8_array, "a Uint8Array");
  return {array.Data(), array.Data() + array.ElementLength()};
}

Napi::Float32Array to_array(Napi::Env env, const std::vector<float>& values) {
  auto array = Napi::Float32Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}
Napi::Int32Array to_array(Napi::Env env, const std::vector<int32_t>& values) {
  auto array = Napi::Int32Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

Napi::Error to_error(Napi::Env env, const std::string& code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  return error;
}

}  // namespace zazen::binding
