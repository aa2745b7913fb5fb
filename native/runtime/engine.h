// One model with everything that works on it. All calls come from one thread at a time.
#pragma once

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "model/parameters.h"
#include "runtime/generator.h"
#include "runtime/scorer.h"
#include "runtime/trainer.h"

namespace zazen {

struct EngineConfig {
  ModelSpec spec;
  Isa isa = Isa::portable;
  int threads = 1;
  int64_t micro_batch_tokens = 1, kv_bytes = 0;
  bool trainable = true, reference = false;
  bool moving_reference = false;  // it follows bf16 weights by parts of the way, and keeps an f32 copy
  DType moments = DType::f32;     // f32 or bf16
  bool recompute = false;         // activations in the backward pass
  std::string adapter;            // file that adapters come from; empty: they are made from lora_seed
  uint64_t lora_seed = 0;
  HeadFrom head = HeadFrom::files;                             // caller: drawn from the seed
  int64_t memory_limit = std::numeric_limits<int64_t>::max();  // bytes; what is kept all the time must fit
};

// Whether a reference in bf16 has f32 masters, from which it is rounded.
inline bool has_reference_masters(const EngineConfig& c) {
  return c.reference && c.moving_reference && c.trainable && c.spec.lora.rank == 0 && c.spec.dtype != DType::f32;
}

struct Workload;  // runtime/memory_plan.h

struct StatePaths {
  std::string optimizer, reference;  // the reference's is empty where it is left out
};

class Engine {
 public:
  // Weights from the files, or random ones when there are none; the head's random where the config says so. With `reference`, a
  // frozen copy of them is kept; with adapters, the reference is the base without them, and no copy is needed.
  Engine(const EngineConfig& config, const std::vector<std::string>& paths, uint64_t seed, float std);

  // Takes what calls up to those of a workload lay out, so that none of them allocates a Buffer. Throws KV_TOO_SMALL.
  void reserve(const Workload& workload);
  void use_vocabulary(Vocabulary vocabulary) { generator_.use_vocabulary(std::move(vocabulary)); }
  Generated generate(const GenerateArgs& args, Control& control);
  Scores score(const ScoreArgs& args, bool reference, Control& control);
  std::vector<float> values(const ValueArgs& args, Control& control);
  LossSums forward_backward(const TrainArgs& args, const LossArgs& loss, Control& control);
  OptimResult step(const OptimArgs& args) { return trainer().step(store(), args); }
  // reference = (1 - mix) reference + mix weights; a mix of 1 copies. Of bf16 weights the mean is one of masters, kept in f32
  // and rounded to nearest for use, since parts of the way are often less than half a unit of bf16: a mix between 0 and 1 needs
  // `moving_reference`.
  void sync_reference(float mix);
  // The adapters of an engine that has them, else all weights.
  void save(const std::string& path);
  void save_merged(const std::string& path) const;
  // Weights that `save` wrote of an engine of this shape, checked before anything is changed; gathered gradients are cleared,
  // moments and the reference stay.
  void load(const std::string& path);
  // What training keeps beside the weights: the optimizer's state with the masters of bf16 weights, and the frozen reference
  // where there is one. Loading checks both files before it changes anything, and clears the gradients. A read that fails after
  // that leaves the state mixed.
  void save_state(const StatePaths& paths);
  void load_state(const StatePaths& paths);
  std::vector<float> gradient(const std::string& name);

  const ParameterList& parameters() const { return parameters_; }

 private:
  Trainer& trainer();
  void require_head(const char* verb, bool scalar) const;
  TensorBuffer& require_reference();
  std::vector<StateBuffer> state();
  WeightStore store() { return {weights_.ref(), master_.data()}; }
  bool is_adapted() const { return config_.spec.lora.rank > 0; }
  void fill_weights(const std::vector<std::string>& paths, uint64_t seed, float std);

  EngineConfig config_;
  ModelSpec base_spec_;  // without adapters
  ParameterList base_, parameters_;
  ThreadPool pool_;
  Transformer base_model_, model_;  // over the same weights
  TensorBuffer weights_, reference_;
  Buffer<float> master_;            // of bf16 weights that are trained
  Buffer<float> reference_master_;  // of a moving reference, laid out as the masters
  Generator generator_;
  Scorer scorer_;
  std::unique_ptr<Trainer> trainer_;
};

}  // namespace zazen
