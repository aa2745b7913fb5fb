// Shape and constants of a Llama-form model: RMSNorm, rotary positions, grouped-query attention, SwiGLU. Families differ in
// biases, norms of queries and keys, rotary frequencies and sliding windows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "core/check.h"
#include "kernels/kernels.h"

namespace zazen {

// Low-rank adapters (Hu et al. 2021, "LoRA"): y = W x + scale * B (A x) with W frozen, A [rank, K], B [N, rank]. Rank 0: none,
// and every weight is trained.
struct LoraSpec {
  int64_t rank = 0;
  float scale = 0.0f;                // alpha / rank, or alpha / sqrt(rank) (Kalajdzievski 2023, "rsLoRA")
  std::vector<std::string> targets;  // linear layers with an adapter, as "model.layers.0.self_attn.q_proj"
  std::vector<std::string> saved;    // modules of which a copy is trained whole, as "lm_head"
};

struct ModelSpec {
  int64_t vocab = 0, hidden = 0, intermediate = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, max_positions = 0;
  std::vector<float> rope_frequencies;  // [head_dim / 2], radians a position
  float rope_scale = 1.0f;              // of cosine and sine
  std::vector<int32_t> windows;         // [layers]: see AttentionArgs
  float rms_norm_eps = 1e-5f;
  bool tied = false;         // the head is the embedding table
  bool scalar = false;       // the head gives one number a row (reward models, critics), not logits of a vocabulary
  bool qkv_bias = false;     // of the projections to queries, keys and values
  bool qk_norm = false;      // RMSNorm of every query and key head before rotation
  DType dtype = DType::f32;  // of weights, activations, keys and values in memory: f32 or bf16
  LoraSpec lora;

  int64_t query_dim() const { return heads * head_dim; }
  int64_t key_dim() const { return kv_heads * head_dim; }
  // Of the head, and row length of the matrix of its outputs: whole panels.
  int64_t outputs() const { return scalar ? 1 : vocab; }
  int64_t padded_outputs() const { return ceil_div(outputs(), kPanel) * kPanel; }
  KvShape kv() const { return {kv_heads, head_dim}; }
  // Whether the head of a language model has an adapter, be its weight the embedding's or its own.
  bool adapts_head() const { return std::find(lora.targets.begin(), lora.targets.end(), "lm_head") != lora.targets.end(); }
  int64_t head_rank() const { return adapts_head() ? lora.rank : 0; }
};

// The last line of defence: JavaScript checks the same with the names of config.json.
inline void check_spec(const ModelSpec& s) {
  constexpr int64_t kMax = int64_t{1} << 31;
  ZAZEN_CHECK(s.lora.rank >= 0 && s.lora.rank < kMax, "BAD_SPEC", "[model] expected a rank in 0 .. 2^31, got ", s.lora.rank);
  for (const int64_t n : {s.vocab, s.hidden, s.intermediate, s.layers, s.heads, s.kv_heads, s.head_dim, s.max_positions})
    ZAZEN_CHECK(n > 0 && n < kMax, "BAD_SPEC", "[model] expected dimensions in 1 .. 2^31, got ", n);
  ZAZEN_CHECK(s.query_dim() < kMax, "BAD_SPEC", "[model] expected queries of fewer than 2^31 numbers, got ", s.query_dim());
  ZAZEN_CHECK(s.heads % s.kv_heads == 0, "BAD_SPEC", "[model] expected heads to be a multiple of kv heads, got ", s.heads,
              " and ", s.kv_heads);
  ZAZEN_CHECK(s.head_dim % 2 == 0 && s.head_dim <= kMaxHeadDim, "BAD_SPEC", "[model] expected an even head dimension up to ",
              kMaxHeadDim, ", got ", s.head_dim);
  ZAZEN_CHECK(static_cast<int64_t>(s.rope_frequencies.size()) == s.head_dim / 2, "BAD_SPEC", "[model] expected ",
              s.head_dim / 2, " rotary frequencies, got ", s.rope_frequencies.size());
  ZAZEN_CHECK(static_cast<int64_t>(s.windows.size()) == s.layers, "BAD_SPEC", "[model] expected ", s.layers,
              " attention windows, got ", s.windows.size());
  ZAZEN_CHECK(!(s.scalar && s.adapts_head()), "BAD_SPEC", "[model] expected a scalar head without adapter, got one with");
  ZAZEN_CHECK(!(s.scalar && s.tied), "BAD_SPEC", "[model] expected a scalar head of its own, got one tied to the embedding");
  ZAZEN_CHECK(s.dtype == DType::f32 || s.dtype == DType::bf16, "BAD_SPEC", "[model] expected F32 or BF16, got ",
              dtype_name(s.dtype));
  for (const int32_t window : s.windows)
    ZAZEN_CHECK(window >= 0, "BAD_SPEC", "[model] expected attention windows of 0 or more, got ", window);
}

}  // namespace zazen
