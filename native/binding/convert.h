// Between JavaScript values and plain C++ structs. JavaScript has validated and filled every field; a missing or mistyped one
// is a programming error and throws BAD_ARGUMENT.
#pragma once

#include <napi.h>

#include <string>
#include <vector>

#include "core/check.h"
#include "core/dtype.h"
#include "kernels/kernels.h"

namespace zazen::binding {

double number(const Napi::Object& object, const char* key);
int64_t integer(const Napi::Object& object, const char* key);
bool boolean(const Napi::Object& object, const char* key);
std::string string(const Napi::Object& object, const char* key);
std::vector<std::string> strings(const Napi::Object& object, const char* key);
DType dtype(const Napi::Object& object, const char* key);  // "float32" or "bfloat16"
Napi::Object object(const Napi::Value& value, const char* where);

// Copies of typed arrays; an undefined or null value is an empty vector.
std::vector<float> floats(const Napi::Object& object, const char* key);
std::vector<int32_t> ints(const Napi::Object& object, const char* key);
std::vector<uint8_t> bytes(const Napi::Object& object, const char* key);

// {clipLow, clipHigh, dualClip, klCoefficient, entropyCoefficient, ratio, objective, klEstimator}
PolicyLossArgs policy_loss_args(const Napi::Object& object);
// -> {loss, kl, ratio, clipped, clippedLow, clippedHigh, entropy, tokens: sums; maxAbsDrift}
Napi::Object policy_sums_object(Napi::Env env, const PolicyLossSums& sums);
// {beta, labelSmoothing}
DpoLossArgs dpo_loss_args(const Napi::Object& object);
// -> {count, chosen, rejected, chosenLogprob, rejectedLogprob, accurate}: sums
Napi::Object pair_sums_object(Napi::Env env, const PairSums& sums);
// -> {tokens, clipped, values, returns, squaredReturns, errors, squaredErrors: sums; maxAbsDrift}
Napi::Object value_sums_object(Napi::Env env, const ValueSums& sums);

// Views, for calls that finish before they return.
Napi::Float32Array float_array(const Napi::Object& object, const char* key);
Napi::Int32Array int_array(const Napi::Object& object, const char* key);

// Arrays on the JavaScript heap.
Napi::Float32Array to_array(Napi::Env env, const std::vector<float>& values);
Napi::Int32Array to_array(Napi::Env env, const std::vector<int32_t>& values);

// A JavaScript Error with `code`.
Napi::Error to_error(Napi::Env env, const std::string& code, const std::string& message);

// Runs `body` and turns native exceptions into JavaScript ones.
template <class Body>
auto guarded(Napi::Env env, const Body& body) -> decltype(body()) {
  try {
    return body();
  } catch (const Error& error) {
    throw to_error(env, error.code(), error.what());
  } catch (const std::bad_alloc&) {
    throw to_error(env, "OUT_OF_MEMORY", "[native] the system refused memory");
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw to_error(env, "INTERNAL", error.what());
  }
}

}  // namespace zazen::binding
