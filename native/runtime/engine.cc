#include "runtime/engine.h"

#include <algorithm>
#include <cstring>

#include "model/checkpoint.h"
#include "runtime/memory_plan.h"

namespace zazen {
namespace {

constexpr int64_t kSyncChunk = 1 << 18;  // elements a thread mixes at a time

ModelSpec without_adapters(ModelSpec spec) {
  spec.lora = {};
  return spec;
}

// The list of a model whose files, if there are any, have been found to fit it, and which fits in memory: before anything of
// its size is allocated.
ParameterList checked_base(const EngineConfig& config, const ModelSpec& spec, const std::vector<std::string>& paths) {
  ParameterList parameters(spec);
  if (!paths.empty()) check_weights(paths, spec, parameters, config.head);
  const int64_t bytes = plan_memory(config, {}).total();
  ZAZEN_CHECK(bytes <= config.memory_limit, "MEMORY_PLAN", "[engine] expected a model of at most ", config.memory_limit,
              " bytes, got ", bytes, "; take a smaller one");
  return parameters;
}

// reference = (1 - mix) reference + mix weights
void mix_into(ThreadPool& pool, float* reference, const float* weights, int64_t size, float mix) {
  parallel_for(pool, ceil_div(size, kSyncChunk), [&](int64_t chunk) {
    const int64_t first = chunk * kSyncChunk, end = std::min(size, first + kSyncChunk);
    for (int64_t i = first; i < end; ++i) reference[i] = (1.0f - mix) * reference[i] + mix * weights[i];
  });
}

ParameterList checked_parameters(const EngineConfig& config) {
  ParameterList parameters(config.spec);
  if (!config.adapter.empty()) check_adapter(config.adapter, parameters);
  return parameters;
}

}  // namespace

Engine::Engine(const EngineConfig& config, const std::vector<std::string>& paths, uint64_t seed, float std)
    : config_(config),
      base_spec_(without_adapters(config_.spec)),
      base_(checked_base(config_, base_spec_, paths)),
      parameters_(checked_parameters(config_)),
      pool_(config_.threads),
      base_model_(base_spec_, base_, cpu_kernels(config_.isa), pool_),
      model_(config_.spec, parameters_, cpu_kernels(config_.isa), pool_),
      weights_(config_.spec.dtype, parameters_.elements()),
      generator_(model_, config_.kv_bytes, config_.micro_batch_tokens),
      scorer_(config_.micro_batch_tokens) {
  if (config_.trainable && config_.spec.dtype != DType::f32) master_.reset(static_cast<size_t>(parameters_.trained_elements()));
  fill_weights(paths, seed, std);
  if (config_.reference && !is_adapted()) {
    reference_.reset(config_.spec.dtype, parameters_.elements());
    std::memcpy(reference_.ref().data, weights_.view().data, static_cast<size_t>(weights_.bytes()));
    if (has_reference_masters(config_)) {
      reference_master_.reset(master_.size());
      std::copy_n(master_.data(), master_.size(), reference_master_.data());
    }
  }
  if (config_.trainable)
    trainer_ = std::make_unique<Trainer>(model_, config_.micro_batch_tokens, config_.moments, config_.recompute);
}

void Engine::fill_weights(const std::vector<std::string>& paths, uint64_t seed, float std) {
  // A frozen base has no masters.
  const WeightStore base = is_adapted() ? WeightStore{weights_.ref()} : store();
  if (paths.empty())
    base_.initialize(base, seed, std);
  else
    load_weights(paths, base_spec_, base_, base, config_.head);
  if (!paths.empty() && config_.head == HeadFrom::caller) base_.initialize_head(base, seed, std);
  if (config_.adapter.empty())
    parameters_.initialize_added(store(), config_.lora_seed);
  else
    load_adapter(config_.adapter, parameters_, store());
}

void Engine::reserve(const Workload& workload) {
  const WorkloadSize size = measure(config_, parameters_, workload);
  if (size.train.rows > 0) trainer().reserve(size.train);
  if (size.score.rows > 0) scorer_.reserve(config_.spec, size.score);
  if (size.generate.rows > 0) generator_.reserve(size.generate);
  model_.reserve(size.positions);
  if (size.base_positions > 0) base_model_.reserve(size.base_positions);
}

// JavaScript has asked before; the heads' shapes are what the verbs' memory rests on.
void Engine::require_head(const char* verb, bool scalar) const {
  ZAZEN_CHECK(config_.spec.scalar == scalar, "WRONG_HEAD", "[", verb, "] expected a ", scalar ? "scalar" : "language",
              " head, got the other kind");
}

Generated Engine::generate(const GenerateArgs& args, Control& control) {
  require_head("generate", false);
  return generator_.run(weights_.view(), args, control);
}

std::vector<float> Engine::values(const ValueArgs& args, Control& control) {
  require_head("values", true);
  return scorer_.values(model_, weights_.view(), args, control);
}

Scores Engine::score(const ScoreArgs& args, bool reference, Control& control) {
  require_head("logprobs", false);
  if (is_adapted()) return scorer_.run(reference ? base_model_ : model_, weights_.view(), args, control);
  return scorer_.run(model_, reference ? require_reference().view() : weights_.view(), args, control);
}

LossSums Engine::forward_backward(const TrainArgs& args, const LossArgs& loss, Control& control) {
  require_head("forwardBackward", is_scalar(loss.kind));
  return trainer().forward_backward(weights_.view(), args, loss, control);
}

void Engine::sync_reference(float mix) {
  const TensorRef reference = require_reference().ref();
  if (mix == 1.0f) {
    std::memcpy(reference.data, weights_.view().data, static_cast<size_t>(weights_.bytes()));
    std::copy_n(master_.data(), reference_master_.size(), reference_master_.data());
  } else if (config_.spec.dtype == DType::f32) {
    mix_into(pool_, static_cast<float*>(reference.data), weights_.view().as<float>(), parameters_.elements(), mix);
  } else if (mix > 0.0f) {
    ZAZEN_CHECK(
        reference_master_.size() > 0, "BAD_ARGUMENT",
        "[syncReference] expected a mix of 1 of an engine with bfloat16 weights and a reference that stays or is copied, got ",
        mix, "; create it with reference: \"moving\"");
    mix_into(pool_, reference_master_.data(), master_.data(), parameters_.trained_elements(), mix);
    round_weights(model_, {reference, reference_master_.data()});
  }
}

Trainer& Engine::trainer() {
  ZAZEN_CHECK(trainer_, "NOT_TRAINABLE",
              "[engine] expected a trainable engine, got one for inference; create it with trainable: true");
  return *trainer_;
}

void Engine::save(const std::string& path) {
  if (is_adapted()) return save_adapter(path, parameters_, store());
  save_weights(path, parameters_, weights_.view());
}

void Engine::load(const std::string& path) {
  if (is_adapted())
    check_adapter(path, parameters_);
  else
    check_weights({path}, config_.spec, parameters_);
  if (trainer_) trainer_->clear();
  if (is_adapted()) return load_adapter(path, parameters_, store());
  load_weights({path}, config_.spec, parameters_, store());
}

void Engine::save_merged(const std::string& path) const {
  if (!is_adapted()) return save_weights(path, parameters_, weights_.view());
  zazen::save_merged(path, config_.spec, parameters_, weights_.view());
}

std::vector<StateBuffer> Engine::state() {
  std::vector<StateBuffer> buffers = trainer().state();
  if (master_.size() > 0) buffers.push_back({"master", master_.data()});
  if (reference_master_.size() > 0) buffers.push_back({"reference", reference_master_.data()});
  return buffers;
}

void Engine::save_state(const StatePaths& paths) {
  zazen::save_state(paths.optimizer, parameters_, state(), trainer().steps());
  if (!paths.reference.empty()) save_weights(paths.reference, parameters_, require_reference().view());
}

void Engine::load_state(const StatePaths& paths) {
  check_state(paths.optimizer, parameters_, state());
  if (!paths.reference.empty()) {
    require_reference();
    check_weights({paths.reference}, config_.spec, parameters_);
  }
  trainer().clear();
  trainer().set_steps(zazen::load_state(paths.optimizer, parameters_, state()));
  if (!paths.reference.empty()) load_weights({paths.reference}, config_.spec, parameters_, {reference_.ref()});
}

TensorBuffer& Engine::require_reference() {
  ZAZEN_CHECK(!reference_.empty(), "NO_REFERENCE",
              "[engine] expected an engine with reference weights, got none; create it with reference: true");
  return reference_;
}

std::vector<float> Engine::gradient(const std::string& name) {
  for (const auto& p : parameters_.added())  // a copy has the name of what it is a copy of
    if (p.name == name) return trainer().gradient(p);
  for (const auto& p : parameters_.base())
    if (p.name == name) return trainer().gradient(p);
  throw Error("PARAMETER_UNKNOWN", text("[engine] expected the name of a parameter, got \"", name, "\""));
}

}  // namespace zazen
