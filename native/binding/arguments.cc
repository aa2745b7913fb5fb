#include "binding/arguments.h"

#include <algorithm>

#include "binding/convert.h"

namespace zazen::binding {
namespace {

Isa isa_of(const std::string& name) {
  for (const Isa isa : kIsas)
    if (name == isa_name(isa)) return isa;
  ZAZEN_CHECK(name == "auto", "UNSUPPORTED", "[engine] expected auto, portable, avx2, avx512 or avx512_bf16, got ", name);
  return best_isa();
}

ByteAutomaton automaton(const Napi::Value& value) {
  ByteAutomaton a;
  if (value.IsNull() || value.IsUndefined()) return a;
  const Napi::Object args = object(value, "constraint");
  const std::vector<uint8_t> classes = bytes(args, "classes");
  ZAZEN_CHECK(classes.size() == a.classes.size(), "BAD_ARGUMENT", "[native] classes: expected 256, got ", classes.size());
  std::copy(classes.begin(), classes.end(), a.classes.begin());
  a.class_count = integer(args, "classCount");
  a.next = ints(args, "next");
  a.accepting = bytes(args, "accepting");
  a.check();
  return a;
}

SamplingSpec sampling_spec(const Napi::Object& args) {
  const auto real = [&](const char* key) { return static_cast<float>(number(args, key)); };
  SamplingSpec s;
  s.max_tokens = integer(args, "maxTokens");
  s.temperature = real("temperature");
  s.top_k = integer(args, "topK");
  s.top_p = real("topP");
  s.min_p = real("minP");
  s.repetition_penalty = real("repetitionPenalty");
  s.presence_penalty = real("presencePenalty");
  s.frequency_penalty = real("frequencyPenalty");
  s.stop = ints(args, "stop");
  s.banned = ints(args, "banned");
  s.stop_strings = strings(args, "stopStrings");
  s.constraint = automaton(args.Get("constraint"));
  return s;
}

BatchBound batch_bound(const Napi::Object& o) {
  return {integer(o, "tokens"), integer(o, "longest"), integer(o, "sequences"), integer(o, "together")};
}

}  // namespace

PackedTokens packed_tokens(const Napi::Object& args) { return {ints(args, "ids"), ints(args, "cuSeqlens")}; }

EngineConfig engine_config(const Napi::Object& args) {
  EngineConfig c;
  c.spec.vocab = integer(args, "vocabSize");
  c.spec.hidden = integer(args, "hiddenSize");
  c.spec.intermediate = integer(args, "intermediateSize");
  c.spec.layers = integer(args, "layers");
  c.spec.heads = integer(args, "heads");
  c.spec.kv_heads = integer(args, "kvHeads");
  c.spec.head_dim = integer(args, "headDim");
  c.spec.max_positions = integer(args, "maxPositions");
  c.spec.rope_frequencies = floats(args, "ropeFrequencies");
  c.spec.rope_scale = static_cast<float>(number(args, "ropeScale"));
  c.spec.windows = ints(args, "windows");
  c.spec.rms_norm_eps = static_cast<float>(number(args, "rmsNormEps"));
  c.spec.tied = boolean(args, "tieWordEmbeddings");
  c.spec.scalar = boolean(args, "scalarHead");
  c.head = boolean(args, "drawHead") ? HeadFrom::caller : HeadFrom::files;
  c.spec.qkv_bias = boolean(args, "qkvBias");
  c.spec.qk_norm = boolean(args, "qkNorm");
  c.spec.dtype = dtype(args, "dtype");
  c.spec.lora.rank = integer(args, "loraRank");
  c.spec.lora.scale = static_cast<float>(number(args, "loraScale"));
  c.spec.lora.targets = strings(args, "loraTargets");
  c.spec.lora.saved = strings(args, "loraSaved");
  c.lora_seed = static_cast<uint64_t>(integer(args, "loraSeed"));
  c.adapter = string(args, "adapter");
  c.moments = dtype(args, "moments");
  c.isa = isa_of(string(args, "isa"));
  c.threads = static_cast<int>(integer(args, "threads"));
  c.micro_batch_tokens = integer(args, "microBatchTokens");
  c.kv_bytes = integer(args, "kvBytes");
  c.trainable = boolean(args, "trainable");
  c.reference = boolean(args, "reference");
  c.moving_reference = boolean(args, "movingReference");
  c.recompute = boolean(args, "recompute");
  c.memory_limit = integer(args, "memoryLimit");
  return c;
}

GenerateArgs generate_args(const Napi::Object& args) {
  GenerateArgs g;
  g.prompts = packed_tokens(args);
  g.samples = integer(args, "samples");
  g.sampling_of = ints(args, "samplingOf");
  const auto samplings = args.Get("samplings").As<Napi::Array>();
  for (uint32_t i = 0; i < samplings.Length(); ++i) g.samplings.push_back(sampling_spec(object(samplings.Get(i), "sampling")));
  g.seed = static_cast<uint64_t>(integer(args, "seed"));
  g.step = static_cast<uint32_t>(integer(args, "step"));
  for (const int32_t problem : ints(args, "problemIds")) g.problems.push_back(static_cast<uint32_t>(problem));
  return g;
}

TrainArgs train_args(const Napi::Object& args) {
  return {packed_tokens(args),         floats(args, "weights"),         floats(args, "advantages"), floats(args, "oldLogprobs"),
          floats(args, "refLogprobs"), floats(args, "samplerLogprobs"), floats(args, "importance"), floats(args, "pairWeights"),
          floats(args, "returns"),     floats(args, "oldValues"),       floats(args, "margins"),    ints(args, "scored")};
}

LossArgs loss_args(const Napi::Object& args) {
  LossArgs loss;
  const std::string kind = string(args, "kind");
  if (kind == "sft") return loss;
  if (kind == "dpo") {
    loss.kind = LossKind::dpo;
    loss.dpo = dpo_loss_args(args);
    return loss;
  }
  if (kind == "value") {
    loss.kind = LossKind::value;
    loss.value_clip = static_cast<float>(number(args, "clip"));
    return loss;
  }
  if (kind == "bradley-terry") {
    loss.kind = LossKind::bradley_terry;
    loss.center_coef = static_cast<float>(number(args, "centerCoefficient"));
    return loss;
  }
  loss.kind = LossKind::policy;
  loss.temperature = static_cast<float>(number(args, "temperature"));
  loss.policy = policy_loss_args(args);
  return loss;
}

OptimArgs optim_args(const Napi::Object& args) {
  return {number(args, "learningRate"), number(args, "beta1"),       number(args, "beta2"),
          number(args, "eps"),          number(args, "weightDecay"), number(args, "maxGradNorm")};
}

StatePaths state_paths(const Napi::Object& args) { return {string(args, "optimizer"), string(args, "reference")}; }

Workload workload_of(const Napi::Object& o) {
  Workload workload{batch_bound(object(o.Get("train"), "train")), batch_bound(object(o.Get("score"), "score")), {}};
  const auto calls = object(o.Get("generate"), "generate").As<Napi::Array>();
  for (uint32_t i = 0; i < calls.Length(); ++i) {
    const Napi::Object call = object(calls.Get(i), "generate");
    workload.generate.push_back({integer(call, "prompts"), integer(call, "promptTokens"), integer(call, "samplesPerPrompt"),
                                 integer(call, "maxTokens")});
  }
  return workload;
}

}  // namespace zazen::binding
