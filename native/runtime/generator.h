// Sampling with a KV cache. A prompt is computed once for all its samples; sequences leave the batch when they end and prompts
// enter when blocks are free for their longest possible samples and more samples would be of use. Who shares a batch with whom
// changes no bit of any sample.
#pragma once

#include <vector>

#include "model/head.h"
#include "runtime/control.h"
#include "runtime/kv_pool.h"
#include "runtime/micro_batch.h"

namespace zazen {

struct GenerateArgs {
  PackedTokens prompts;
  int64_t samples = 1;  // a prompt
  int64_t max_tokens = 1;
  float temperature = 1.0f, top_p = 1.0f;
  int64_t top_k = 0;
  std::vector<int32_t> stop, banned;  // token ids
  uint64_t seed = 0;
  uint32_t step = 0;
  std::vector<uint32_t> problems;  // [prompts], for the random key
};

enum class Finish : int8_t { stop, length, abort };

struct Sample {
  std::vector<int32_t> tokens;
  std::vector<float> logp, sampler_logp;
  Finish finish = Finish::abort;
};

class Generator {
 public:
  Generator(const Transformer& model, int64_t kv_bytes, int64_t max_rows)
      : model_(model), kv_bytes_(kv_bytes), max_rows_(max_rows) {}

  // Samples in order: prompt 0 sample 0, prompt 0 sample 1, ... When aborted, returns what there is.
  std::vector<Sample> run(TensorView weights, const GenerateArgs& args, Control& control);

 private:
  struct Sequence {
    int64_t sample;  // index into the result
    int64_t length;  // prompt and completion
    int64_t limit;   // largest completion
    std::vector<int32_t> blocks;
  };
  struct Call;

  void reserve(Call& call);
  int64_t blocks_needed(const GenerateArgs& args, int64_t prompt) const;
  int64_t length_limit(const GenerateArgs& args, int64_t prompt) const;
  void admit(Call& call);
  void prefill(Call& call, int64_t first, int64_t last);
  void fork(Call& call, int64_t prompt, const std::vector<int32_t>& blocks);
  void decode(Call& call);
  // Samples one token for each sequence from hidden row `rows[i]`, and appends it.
  void sample(Call& call, const std::vector<Sequence*>& sequences, const std::vector<int32_t>& rows);
  void append(Call& call, Sequence& sequence, int32_t token, float logp, float sampler_logp);
  void retire(Call& call);

  const Transformer& model_;
  int64_t kv_bytes_, max_rows_;
  KvPool pool_;
  Activations activations_;
  HeadWorkspace head_;
  Buffer<int32_t> tokens_;                 // [R]
  Buffer<float> uniforms_, sampler_logp_;  // [R]
};

}  // namespace zazen
