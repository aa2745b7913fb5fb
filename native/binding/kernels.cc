// The named kernels on typed arrays, and facts about the machine. These calls finish before they return.
#if __has_include(<gnu/libc-version.h>)
#include <gnu/libc-version.h>
#endif

#include <cmath>

#include "binding/convert.h"
#include "binding/state.h"
#include "core/buffer.h"
#include "runtime/probe.h"

namespace zazen::binding {
namespace {

constexpr int64_t kCopyBytes = int64_t{8} << 20;  // logits copied at a time when they must be scaled

const Kernels& kernels() { return cpu_kernels(best_isa()); }

ThreadPool& pool(Napi::Env env, const Napi::Object& args) {
  return env.GetInstanceData<EnvironmentState>()->threads(static_cast<int>(integer(args, "threads")));
}

// {rewards [n], cuGroups [G + 1], scaleByStd, eps} -> [n]
Napi::Value advantage_normalize(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Object args = object(info[0], "advantageNormalize");
    const auto rewards = float_array(args, "rewards");
    const auto groups = int_array(args, "cuGroups");
    auto out = Napi::Float32Array::New(info.Env(), rewards.ElementLength());
    kernels().advantage_normalize(out.Data(), rewards.Data(), groups.Data(), static_cast<int64_t>(groups.ElementLength()) - 1,
                                  boolean(args, "scaleByStd"), static_cast<float>(number(args, "eps")));
    return out;
  });
}

// {logits [T, V], ids [T], vocabSize, temperature, threads} -> {logprobs [T], entropy [T]}
Napi::Value logprob_gather(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    const Napi::Object args = object(info[0], "logprobGather");
    auto logits = float_array(args, "logits");
    const auto ids = int_array(args, "ids");
    const int64_t T = static_cast<int64_t>(ids.ElementLength()), V = integer(args, "vocabSize");
    const auto temperature = static_cast<float>(number(args, "temperature"));
    auto logp = Napi::Float32Array::New(env, ids.ElementLength()), entropy = Napi::Float32Array::New(env, ids.ElementLength());
    Buffer<float> lse(static_cast<size_t>(T)), copy;
    const bool scaled = temperature != 1.0f;  // then the kernel changes its input, which is the caller's
    const int64_t chunk = scaled ? std::max<int64_t>(1, kCopyBytes / (V * static_cast<int64_t>(sizeof(float)))) : T;
    if (scaled) copy.reset(static_cast<size_t>(std::min(chunk, T) * V));
    for (int64_t t = 0; t < T; t += chunk) {
      const int64_t R = std::min(chunk, T - t);
      float* rows = logits.Data() + t * V;
      if (scaled) rows = static_cast<float*>(std::memcpy(copy.data(), rows, static_cast<size_t>(R * V) * sizeof(float)));
      kernels().head_forward(pool(env, args), rows, V, ids.Data() + t, temperature, logp.Data() + t, lse.data() + t,
                             entropy.Data() + t, R, V);
    }
    Napi::Object out = Napi::Object::New(env);
    out.Set("logprobs", logp);
    out.Set("entropy", entropy);
    return out;
  });
}

// {logprobs, oldLogprobs, refLogprobs?, samplerLogprobs?, importance?, entropy?, advantages, weights [T], cuSeqlens?, clipLow,
// ...}
//   -> {loss, ..., dLogprobs [T], dEntropy [T]}
Napi::Value policy_loss(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    const Napi::Object args = object(info[0], "policyLoss");
    const auto optional = [&](const char* key) -> const float* {
      return args.Get(key).IsTypedArray() ? float_array(args, key).Data() : nullptr;
    };
    const auto logp = float_array(args, "logprobs");
    auto dlogp = Napi::Float32Array::New(env, logp.ElementLength()),
         dentropy = Napi::Float32Array::New(env, logp.ElementLength());
    PolicyLossInputs in{logp.Data(), float_array(args, "oldLogprobs").Data(), float_array(args, "advantages").Data(),
                        float_array(args, "weights").Data()};
    in.ref = optional("refLogprobs");
    in.entropy = optional("entropy");
    in.sampler = optional("samplerLogprobs");
    in.importance = optional("importance");
    if (args.Get("cuSeqlens").IsTypedArray()) {
      const auto offsets = int_array(args, "cuSeqlens");
      in.cu_tokens = offsets.Data();
      in.sequences = static_cast<int64_t>(offsets.ElementLength()) - 1;
    }
    PolicyLossSums sums;
    kernels().policy_loss(sums, dlogp.Data(), dentropy.Data(), in, policy_loss_args(args),
                          static_cast<int64_t>(logp.ElementLength()));
    Napi::Object out = policy_sums_object(env, sums);
    out.Set("dLogprobs", dlogp);
    out.Set("dEntropy", dentropy);
    return out;
  });
}

// {logprobs, refLogprobs, weights [T], cuSeqlens [2 P + 1], pairWeights [P], beta, labelSmoothing} -> {loss, pairs, dLogprobs
// [T]}
Napi::Value dpo_loss(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    const Napi::Object args = object(info[0], "dpoLoss");
    const auto logp = float_array(args, "logprobs"), weights = float_array(args, "pairWeights");
    auto dlogp = Napi::Float32Array::New(env, logp.ElementLength());
    const DpoLossInputs in{logp.Data(),
                           float_array(args, "refLogprobs").Data(),
                           float_array(args, "weights").Data(),
                           int_array(args, "cuSeqlens").Data(),
                           weights.Data(),
                           static_cast<int64_t>(weights.ElementLength())};
    PairSums sums;
    kernels().dpo_loss(sums, dlogp.Data(), in, dpo_loss_args(args));
    Napi::Object out = Napi::Object::New(env);
    out.Set("loss", sums.loss);
    out.Set("pairs", pair_sums_object(env, sums));
    out.Set("dLogprobs", dlogp);
    return out;
  });
}

// {scores [2 P], margins [P] or none, pairWeights [P], centerCoefficient} -> {loss, pairs, dScores [2 P]}
Napi::Value bradley_terry_loss(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    const Napi::Object args = object(info[0], "bradleyTerryLoss");
    const auto scores = float_array(args, "scores"), weights = float_array(args, "pairWeights");
    const std::vector<float> margins = floats(args, "margins");
    auto dscores = Napi::Float32Array::New(env, scores.ElementLength());
    PairSums sums;
    kernels().bradley_terry_loss(sums, dscores.Data(),
                                 {scores.Data(), margins.empty() ? nullptr : margins.data(), weights.Data(),
                                  static_cast<int64_t>(weights.ElementLength())},
                                 static_cast<float>(number(args, "centerCoefficient")));
    Napi::Object out = Napi::Object::New(env);
    out.Set("loss", sums.loss);
    out.Set("pairs", pair_sums_object(env, sums));
    out.Set("dScores", dscores);
    return out;
  });
}

// {values, returns, weights [T], oldValues [T] or none, clip} -> {loss, value, dValues [T]}
Napi::Value value_loss(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    const Napi::Object args = object(info[0], "valueLoss");
    const auto values = float_array(args, "values");
    const std::vector<float> old = floats(args, "oldValues");
    auto dvalues = Napi::Float32Array::New(env, values.ElementLength());
    ValueSums sums;
    kernels().value_loss(sums, dvalues.Data(),
                         {values.Data(), float_array(args, "returns").Data(), float_array(args, "weights").Data(),
                          old.empty() ? nullptr : old.data()},
                         static_cast<float>(number(args, "clip")), static_cast<int64_t>(values.ElementLength()));
    Napi::Object out = Napi::Object::New(env);
    out.Set("loss", sums.loss);
    out.Set("value", value_sums_object(env, sums));
    out.Set("dValues", dvalues);
    return out;
  });
}

// {threads, seconds} -> GB/s
Napi::Value measure_reads_of(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Object args = object(info[0], "measureReads");
    return Napi::Number::New(info.Env(), measure_reads(pool(info.Env(), args), number(args, "seconds")));
  });
}

// {threads, seconds} -> {gflops, rows, outputs, inputs}
Napi::Value measure_peak_of(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Object args = object(info[0], "measurePeak");
    const Peak peak = measure_peak(kernels(), pool(info.Env(), args), dtype(args, "dtype"), number(args, "seconds"));
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("gflops", peak.gflops);
    out.Set("rows", static_cast<double>(peak.rows));
    out.Set("outputs", static_cast<double>(peak.outputs));
    out.Set("inputs", static_cast<double>(peak.inputs));
    return out;
  });
}

// -> {best, available: []}
Napi::Value isas(const Napi::CallbackInfo& info) {
  Napi::Array available = Napi::Array::New(info.Env());
  for (const Isa isa : kIsas)
    if (has_isa(isa)) available.Set(available.Length(), Napi::String::New(info.Env(), isa_name(isa)));
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("best", isa_name(best_isa()));
  out.Set("available", available);
  return out;
}

// The C library, whose pow, exp and log the engine calls.
Napi::Value libc(const Napi::CallbackInfo& info) {
#if defined(__GLIBC__)
  return Napi::String::New(info.Env(), text("glibc ", gnu_get_libc_version()));
#else
  return Napi::String::New(info.Env(), "unknown");
#endif
}

}  // namespace

void define_kernels(Napi::Env env, Napi::Object exports) {
  exports.Set("advantageNormalize", Napi::Function::New<advantage_normalize>(env));
  exports.Set("logprobGather", Napi::Function::New<logprob_gather>(env));
  exports.Set("policyLoss", Napi::Function::New<policy_loss>(env));
  exports.Set("dpoLoss", Napi::Function::New<dpo_loss>(env));
  exports.Set("bradleyTerryLoss", Napi::Function::New<bradley_terry_loss>(env));
  exports.Set("valueLoss", Napi::Function::New<value_loss>(env));
  exports.Set("measureReads", Napi::Function::New<measure_reads_of>(env));
  exports.Set("measurePeak", Napi::Function::New<measure_peak_of>(env));
  exports.Set("isas", Napi::Function::New<isas>(env));
  exports.Set("libc", Napi::Function::New<libc>(env));
}

}  // namespace zazen::binding
