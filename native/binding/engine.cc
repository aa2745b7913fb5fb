#include "binding/engine.h"

#include <algorithm>

#include "binding/convert.h"
#include "runtime/memory_plan.h"

namespace zazen::binding {
namespace {

PackedTokens packed_tokens(const Napi::Object& args) { return {ints(args, "ids"), ints(args, "cuSeqlens")}; }

Isa isa_of(const std::string& name) {
  for (const Isa isa : kIsas)
    if (name == isa_name(isa)) return isa;
  ZAZEN_CHECK(name == "auto", "UNSUPPORTED", "[engine] expected auto, portable, avx2, avx512 or avx512_bf16, got ", name);
  return best_isa();
}

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
  c.recompute = boolean(args, "recompute");
  c.memory_limit = integer(args, "memoryLimit");
  return c;
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

// Numbers of parameters.
struct Sizes {
  int64_t parameters = 0, trained = 0;
};

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

// Samples laid end to end.
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

BatchBound batch_bound(const Napi::Object& o) {
  return {integer(o, "tokens"), integer(o, "longest"), integer(o, "sequences"), integer(o, "together")};
}

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

// {an engine's options, workload} -> bytes of each part
Napi::Value plan_memory_of(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Object args = object(info[0], "planMemory");
    const MemoryPlan plan = plan_memory(engine_config(args), workload_of(object(args.Get("workload"), "workload")));
    Napi::Object out = Napi::Object::New(info.Env());
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
  });
}

}  // namespace

void EngineObject::define(Napi::Env env, Napi::Object exports) {
  exports.Set("planMemory", Napi::Function::New<plan_memory_of>(env));
  exports.Set(
      "Engine",
      DefineClass(
          env, "Engine",
          {InstanceMethod<&EngineObject::open>("open"), InstanceMethod<&EngineObject::generate>("generate"),
           InstanceMethod<&EngineObject::reserve>("reserve"), InstanceMethod<&EngineObject::use_vocabulary>("useVocabulary"),
           InstanceMethod<&EngineObject::take_tokens>("takeTokens"), InstanceMethod<&EngineObject::logprobs>("logprobs"),
           InstanceMethod<&EngineObject::values>("values"), InstanceMethod<&EngineObject::forward_backward>("forwardBackward"),
           InstanceMethod<&EngineObject::optim_step>("optimStep"), InstanceMethod<&EngineObject::save>("save"),
           InstanceMethod<&EngineObject::sync_reference>("syncReference"),
           InstanceMethod<&EngineObject::save_state>("saveState"), InstanceMethod<&EngineObject::load_state>("loadState"),
           InstanceMethod<&EngineObject::gradient>("gradient"), InstanceMethod<&EngineObject::memory>("memory"),
           InstanceMethod<&EngineObject::abort>("abort"), InstanceMethod<&EngineObject::dispose>("dispose")}));
}

EngineObject::EngineObject(const Napi::CallbackInfo& info)
    : ObjectWrap(info),
      env_(info.Env()),
      cleanup_(env_.AddCleanupHook(
          +[](EngineObject* self) {
            self->environment_gone_ = true;
            self->close();
          },
          this)),
      worker_(env_) {}

EngineObject::~EngineObject() {
  if (!environment_gone_) cleanup_.Remove(env_);  // a hook that ran has freed itself
  close();
}

void EngineObject::close() {
  worker_.stop();
  engine_.reset();
}

Engine& EngineObject::engine() {
  ZAZEN_CHECK(engine_, "ENGINE_DISPOSED", "[engine] expected an open engine, got none");
  return *engine_;
}

// Runs work(control) -> Result on the engine's thread and resolves to convert(env, result).
template <class Result, class Work, class Convert>
Napi::Value EngineObject::run(const Napi::CallbackInfo& info, Work work, Convert convert) {
  auto job = std::make_unique<Job>(info.Env());
  auto result = std::make_shared<Result>();
  job->work = [result, work = std::move(work)](Control& control) { *result = work(control); };
  job->result = [result, convert](Napi::Env env) -> Napi::Value { return convert(env, *result); };
  job->aborted = info[0].IsObject() && info[0].As<Napi::Object>().Get("aborted").ToBoolean();
  if (info.Length() > 1 && info[1].IsFunction()) job->on_progress = Napi::Persistent(info[1].As<Napi::Function>());
  if (info.Length() > 2 && info[2].IsFunction()) job->on_tokens = Napi::Persistent(info[2].As<Napi::Function>());
  job->owner = Napi::Persistent(info.This().As<Napi::Object>());
  return worker_.submit(info.Env(), std::move(job));
}

Napi::Value EngineObject::open(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Object args = object(info[0], "open");
    const EngineConfig config = engine_config(args);
    const std::vector<std::string> paths = strings(args, "paths");
    const auto seed = static_cast<uint64_t>(integer(args, "seed"));
    const auto std = static_cast<float>(number(args, "std"));
    return run<Sizes>(
        info,
        [this, config, paths, seed, std](Control&) {
          open_account() = account_;
          engine_ = std::make_unique<Engine>(config, paths, seed, std);
          return Sizes{engine_->parameters().count(), engine_->parameters().trained_count()};
        },
        [](Napi::Env env, const Sizes& sizes) -> Napi::Value {
          Napi::Object out = Napi::Object::New(env);
          out.Set("parameters", static_cast<double>(sizes.parameters));
          out.Set("trained", static_cast<double>(sizes.trained));
          return out;
        });
  });
}

Napi::Value EngineObject::generate(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto work = [this, args = generate_args(object(info[0], "generate"))](Control& control) {
      return engine().generate(args, control);
    };
    return run<Generated>(info, std::move(work), samples_object);
  });
}

Napi::Value EngineObject::use_vocabulary(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Object args = object(info[0], "useVocabulary");
    auto work = [this, text = bytes(args, "bytes"), offsets = ints(args, "offsets")](Control&) {
      engine().use_vocabulary(Vocabulary(text, offsets));
      return 0;
    };
    return run<int>(info, std::move(work), [](Napi::Env env, int) { return env.Undefined(); });
  });
}

// The tokens that have come since the last call, while generate runs or after it.
Napi::Value EngineObject::take_tokens(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return tokens_object(info.Env(), worker_.take_tokens()); });
}

Napi::Value EngineObject::logprobs(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Object o = object(info[0], "logprobs");
    const ScoreArgs args{packed_tokens(o), static_cast<float>(number(o, "temperature")), integer(o, "top")};
    const bool reference = boolean(o, "reference");
    auto work = [this, args, reference](Control& control) { return engine().score(args, reference, control); };
    return run<Scores>(info, std::move(work), scores_object);
  });
}

Napi::Value EngineObject::values(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Object o = object(info[0], "values");
    auto work = [this, args = ValueArgs{packed_tokens(o), ints(o, "at")}](Control& control) {
      return engine().values(args, control);
    };
    return run<std::vector<float>>(info, std::move(work), float_values);
  });
}

Napi::Value EngineObject::forward_backward(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Object o = object(info[0], "forwardBackward");
    auto work = [this, args = train_args(o), loss = loss_args(o)](Control& control) {
      return engine().forward_backward(args, loss, control);
    };
    return run<LossSums>(info, std::move(work), sums_object);
  });
}

Napi::Value EngineObject::optim_step(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto work = [this, args = optim_args(object(info[0], "optimStep"))](Control&) { return engine().step(args); };
    return run<OptimResult>(info, std::move(work), [](Napi::Env env, const OptimResult& result) -> Napi::Value {
      Napi::Object out = Napi::Object::New(env);
      out.Set("gradNorm", result.grad_norm);
      out.Set("step", static_cast<double>(result.step));
      return out;
    });
  });
}

// Runs act(engine) on the engine's thread and resolves to nothing.
template <class Act>
Napi::Value EngineObject::perform(const Napi::CallbackInfo& info, Act act) {
  auto work = [this, act = std::move(act)](Control&) {
    act(engine());
    return 0;
  };
  return run<int>(info, std::move(work), [](Napi::Env env, int) { return env.Undefined(); });
}

Napi::Value EngineObject::reserve(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Object args = object(info[0], "reserve");
    return perform(
        info, [workload = workload_of(object(args.Get("workload"), "workload"))](Engine& engine) { engine.reserve(workload); });
  });
}

Napi::Value EngineObject::sync_reference(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto mix = static_cast<float>(number(object(info[0], "syncReference"), "mix"));
    return perform(info, [mix](Engine& engine) { engine.sync_reference(mix); });
  });
}

Napi::Value EngineObject::save(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Object args = object(info[0], "save");
    return perform(info, [path = string(args, "path"), merged = boolean(args, "merged")](Engine& engine) {
      merged ? engine.save_merged(path) : engine.save(path);
    });
  });
}

Napi::Value EngineObject::save_state(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return perform(info, [paths = state_paths(object(info[0], "saveState"))](Engine& engine) { engine.save_state(paths); });
  });
}

Napi::Value EngineObject::load_state(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return perform(info, [paths = state_paths(object(info[0], "loadState"))](Engine& engine) { engine.load_state(paths); });
  });
}

Napi::Value EngineObject::gradient(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto work = [this, name = string(object(info[0], "gradient"), "name")](Control&) { return engine().gradient(name); };
    return run<std::vector<float>>(info, std::move(work), float_values);
  });
}

Napi::Value EngineObject::memory(const Napi::CallbackInfo& info) {
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("bytes", static_cast<double>(account_->bytes));
  out.Set("peakBytes", static_cast<double>(account_->peak));
  out.Set("allocations", static_cast<double>(account_->allocations));
  return out;
}

void EngineObject::abort(const Napi::CallbackInfo&) { worker_.abort(); }

void EngineObject::dispose(const Napi::CallbackInfo&) { close(); }

}  // namespace zazen::binding
