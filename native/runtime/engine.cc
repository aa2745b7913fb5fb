#include "runtime/engine.h"

#include <cstring>

#include "model/checkpoint.h"

namespace zazen {
namespace {

// The list of a model whose files, if there are any, have been found to fit it: before anything of its size is allocated.
ParameterList checked_parameters(const ModelSpec& spec, const std::vector<std::string>& paths) {
  ParameterList parameters(spec);
  if (!paths.empty()) check_weights(paths, spec, parameters);
  return parameters;
}

}  // namespace

Engine::Engine(const EngineConfig& config, const std::vector<std::string>& paths, uint64_t seed, float std)
    : config_(config),
      parameters_(checked_parameters(config_.spec, paths)),
      pool_(config_.threads),
      model_(config_.spec, parameters_, cpu_kernels(config_.isa), pool_),
      weights_(config_.spec.dtype, parameters_.elements()),
      generator_(model_, config_.kv_bytes, config_.micro_batch_tokens),
      scorer_(model_, config_.micro_batch_tokens) {
  if (config_.trainable && config_.spec.dtype != DType::f32) master_.reset(static_cast<size_t>(parameters_.elements()));
  if (paths.empty())
    parameters_.initialize(store(), seed, std);
  else
    load_weights(paths, config_.spec, parameters_, store());
  if (config_.reference) {
    reference_.reset(config_.spec.dtype, parameters_.elements());
    std::memcpy(reference_.ref().data, weights_.view().data, static_cast<size_t>(weights_.bytes()));
  }
  if (config_.trainable) trainer_ = std::make_unique<Trainer>(model_, config_.micro_batch_tokens, config_.moments);
}

Scores Engine::score(const ScoreArgs& args, bool reference, Control& control) {
  return scorer_.run(reference ? require_reference().view() : weights_.view(), args, control);
}

Trainer& Engine::trainer() {
  ZAZEN_CHECK(trainer_, "NOT_TRAINABLE",
              "[engine] expected a trainable engine, got one for inference; create it with trainable: true");
  return *trainer_;
}

void Engine::save(const std::string& path) const { save_weights(path, parameters_, weights_.view()); }

std::vector<StateBuffer> Engine::state() {
  std::vector<StateBuffer> buffers = trainer().state();
  if (master_.size() > 0) buffers.push_back({"master", master_.data()});
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
  for (const auto& p : parameters_.all())
    if (p.name == name) return trainer().gradient(p);
  throw Error("PARAMETER_UNKNOWN", text("[engine] expected the name of a parameter, got \"", name, "\""));
}

}  // namespace zazen
