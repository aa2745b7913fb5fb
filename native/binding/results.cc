#include "binding/results.h"

#include "binding/convert.h"

namespace zazen::binding {
namespace {

// Tokens [T], and how the samples end that they belong to, as a call or a stream has them.
struct TokenArrays {
  std::vector<int32_t> tokens, finish, stop_strings;
  std::vector<float> logp, sampler_logp;

  // One allocation for each array on the JavaScript heap.
  Napi::Object object(Napi::Env env) const {
    Napi::Object out = Napi::Object::New(env);
    out.Set("tokens", to_array(env, tokens));
    out.Set("logprobs", to_array(env, logp));
    out.Set("samplerLogprobs", to_array(env, sampler_logp));
    out.Set("finish", to_array(env, finish));
    out.Set("stopStrings", to_array(env, stop_strings));
    return out;
  }
};

Napi::Object stats_object(Napi::Env env, const GenerateStats& stats) {
  const auto count = [&](int64_t value) { return Napi::Number::New(env, static_cast<double>(value)); };
  Napi::Object out = Napi::Object::New(env);
  out.Set("preemptions", count(stats.preemptions));
  out.Set("recomputedTokens", count(stats.recomputed_tokens));
  out.Set("blocks", count(stats.blocks));
  out.Set("peakBlocks", count(stats.peak_blocks));
  out.Set("blockBytes", count(stats.block_bytes));
  return out;
}

}  // namespace

Napi::Value samples_object(Napi::Env env, const Generated& generated) {
  TokenArrays arrays;
  std::vector<int32_t> cu{0};
  for (const Sample& s : generated.samples) {
    arrays.tokens.insert(arrays.tokens.end(), s.tokens.begin(), s.tokens.end());
    arrays.logp.insert(arrays.logp.end(), s.logp.begin(), s.logp.end());
    arrays.sampler_logp.insert(arrays.sampler_logp.end(), s.sampler_logp.begin(), s.sampler_logp.end());
    arrays.finish.push_back(static_cast<int32_t>(s.finish));
    arrays.stop_strings.push_back(s.stop_string);
    cu.push_back(static_cast<int32_t>(arrays.tokens.size()));
  }
  Napi::Object out = arrays.object(env);
  out.Set("cuSeqlens", to_array(env, cu));
  out.Set("stats", stats_object(env, generated.stats));
  return out;
}

Napi::Value tokens_object(Napi::Env env, const std::vector<TokenEvent>& events) {
  TokenArrays arrays;
  std::vector<int32_t> samples;
  for (const TokenEvent& e : events) {
    arrays.tokens.push_back(e.token);
    arrays.logp.push_back(e.logp);
    arrays.sampler_logp.push_back(e.sampler_logp);
    arrays.finish.push_back(e.finish);
    arrays.stop_strings.push_back(e.stop_string);
    samples.push_back(static_cast<int32_t>(e.sample));
  }
  Napi::Object out = arrays.object(env);
  out.Set("samples", to_array(env, samples));
  return out;
}

Napi::Value scores_object(Napi::Env env, const Scores& scores) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("logprobs", to_array(env, scores.logp));
  out.Set("entropy", to_array(env, scores.entropy));
  out.Set("topIds", to_array(env, scores.top_ids));
  out.Set("topLogprobs", to_array(env, scores.top_logp));
  return out;
}

Napi::Value sums_object(Napi::Env env, const LossSums& sums) {
  Napi::Object out = policy_sums_object(env, sums);
  out.Set("pairs", pair_sums_object(env, sums.pairs));
  out.Set("value", value_sums_object(env, sums.value));
  return out;
}

Napi::Value float_values(Napi::Env env, const std::vector<float>& values) { return to_array(env, values); }

Napi::Value plan_object(Napi::Env env, const MemoryPlan& plan) {
  Napi::Object out = Napi::Object::New(env);
  const auto set = [&](const char* name, int64_t bytes) { out.Set(name, static_cast<double>(bytes)); };
  set("weights", plan.weights);
  set("masters", plan.masters);
  set("reference", plan.reference);
  set("gradients", plan.gradients);
  set("moments", plan.moments);
  set("activations", plan.activations);
  set("head", plan.head);
  set("keysAndValues", plan.kv);
  set("workspace", plan.workspace);
  return out;
}

}  // namespace zazen::binding
