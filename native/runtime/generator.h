// Sampling with a KV cache. A prompt is computed once for all its samples; sequences leave the batch when they end, and others
// enter it when the scheduler finds room. Who shares a batch with whom changes no bit of any sample.
#pragma once

#include <vector>

#include "runtime/sampler.h"
#include "runtime/scheduler.h"

namespace zazen {

// What calls lay out at most: rows computed at once, sequences drawn for at once, blocks of keys and values.
struct GenerateSize {
  int64_t rows = 0, draws = 0, kv_blocks = 0;
};

class Generator {
 public:
  Generator(const Transformer& model, int64_t kv_bytes, int64_t max_rows)
      : model_(model), kv_bytes_(kv_bytes), max_rows_(max_rows), sampler_(model) {}

  // For stop strings and constraints.
  void use_vocabulary(Vocabulary vocabulary) { vocabulary_ = std::move(vocabulary); }
  // Room for calls of up to these sizes.
  void reserve(const GenerateSize& size);
  // When aborted, also within a forward pass, returns what there is.
  Generated run(TensorView weights, const GenerateArgs& args, Control& control);

 private:
  struct Call;

  void admit(Call& call);
  void prefill(Call& call, const Scheduler::Admission& admission);
  void decode(Call& call);
  void draw(Call& call, const std::vector<int32_t>& rows, const std::vector<Sequence*>& sequences);
  bool forward(Call& call, const Rows& rows);  // false when aborted

  const Transformer& model_;
  int64_t kv_bytes_, max_rows_;
  KvPool pool_;
  Activations activations_;
  Vocabulary vocabulary_;
  Sampler sampler_;
};

}  // namespace zazen
