#include "runtime/engine.h"

#include <algorithm>

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
      weights_(static_cast<size_t>(parameters_.elements())),
      generator_(model_, config_.kv_bytes, config_.micro_batch_tokens),
      scorer_(model_, config_.micro_batch_tokens) {
  if (paths.empty())
    parameters_.initialize(weights_.data(), seed, std);
  else
    load_weights(paths, config_.spec, parameters_, weights_.data());
  if (config_.reference) {
    reference_.reset(weights_.size());
    std::copy_n(weights_.data(), weights_.size(), reference_.data());
  }
  if (config_.trainable) trainer_ = std::make_unique<Trainer>(model_, config_.micro_batch_tokens);
}

Scores Engine::score(const ScoreArgs& args, bool reference, Control& control) {
  ZAZEN_CHECK(!reference || reference_.size() > 0, "NO_REFERENCE",
              "[logprobs] expected an engine with reference weights, got none; create it with reference: true");
  return scorer_.run(reference ? reference_.data() : weights_.data(), args, control);
}

Trainer& Engine::trainer() {
  ZAZEN_CHECK(trainer_, "NOT_TRAINABLE",
              "[engine] expected a trainable engine, got one for inference; create it with trainable: true");
  return *trainer_;
}

void Engine::save(const std::string& path) const { save_weights(path, parameters_, weights_.data()); }

std::vector<float> Engine::gradient(const std::string& name) {
  for (const auto& p : parameters_.all())
    if (p.name == name) return trainer().gradient(p);
  throw Error("PARAMETER_UNKNOWN", text("[engine] expected the name of a parameter, got \"", name, "\""));
}

}  // namespace zazen
