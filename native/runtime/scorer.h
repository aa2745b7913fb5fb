// Log-probs, entropies and best tokens of given sequences, or what a scalar head says of them: the training forward without
// its memory.
#pragma once

#include <vector>

#include "model/head.h"
#include "runtime/control.h"
#include "runtime/micro_batch.h"

namespace zazen {

struct ScoreArgs {
  PackedTokens tokens;
  float temperature = 1.0f;
  int64_t top = 0;
};

// Entry i of logp and entropy belongs to token i, given those before it in its sequence; NaN for the first of a sequence.
// top_* [T, top] belong to the position after token i.
struct Scores {
  std::vector<float> logp, entropy, top_logp;
  std::vector<int32_t> top_ids;
};

struct ValueArgs {
  PackedTokens tokens;
  std::vector<int32_t> at;  // [N] places in the packed tokens, ascending
};

class Scorer {
 public:
  explicit Scorer(int64_t micro_batch_tokens) : micro_batch_tokens_(micro_batch_tokens) {}
  // Room for micro-batches of up to these sizes.
  void reserve(const ModelSpec& spec, const MicroBatchBound& bound);
  Scores run(const Transformer& model, TensorView weights, const ScoreArgs& args, Control& control);
  // Of a model with a scalar head: its outputs [N] at chosen tokens.
  std::vector<float> values(const Transformer& model, TensorView weights, const ValueArgs& args, Control& control);

 private:
  void score(const Transformer& model, TensorView weights, const ScoreArgs& args, const MicroBatch& batch, Scores& scores);

  int64_t micro_batch_tokens_;
  Activations activations_;
  HeadWorkspace head_;
};

}  // namespace zazen
