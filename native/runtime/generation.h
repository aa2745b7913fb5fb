// What a call to generate is given and what it gives back. Plain data; JavaScript has checked it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/automaton.h"
#include "runtime/micro_batch.h"

namespace zazen {

// How the samples of a prompt are drawn and how they end.
struct SamplingSpec {
  int64_t max_tokens = 1;
  float temperature = 1.0f, top_p = 1.0f, min_p = 0.0f;
  int64_t top_k = 0;
  float repetition_penalty = 1.0f, presence_penalty = 0.0f, frequency_penalty = 0.0f;
  std::vector<int32_t> stop, banned;      // token ids
  std::vector<std::string> stop_strings;  // bytes
  ByteAutomaton constraint;               // without states there is none

  bool penalises() const { return repetition_penalty != 1.0f || presence_penalty != 0.0f || frequency_penalty != 0.0f; }
};

struct GenerateArgs {
  PackedTokens prompts;
  int64_t samples = 1;  // a prompt
  std::vector<SamplingSpec> samplings;
  std::vector<int32_t> sampling_of;  // [prompts], into `samplings`
  uint64_t seed = 0;
  uint32_t step = 0;
  std::vector<uint32_t> problems;  // [prompts], for the random key

  int64_t prompt_length(int64_t prompt) const {
    return prompts.cu[static_cast<size_t>(prompt) + 1] - prompts.cu[static_cast<size_t>(prompt)];
  }
  const SamplingSpec& sampling(int64_t prompt) const {
    return samplings[static_cast<size_t>(sampling_of[static_cast<size_t>(prompt)])];
  }
  int64_t sample_count() const { return prompts.sequences() * samples; }
};

enum class Finish : int8_t { stop, length, abort };

struct Sample {
  std::vector<int32_t> tokens;
  std::vector<float> logp, sampler_logp;
  Finish finish = Finish::abort;
  int32_t stop_string = -1;  // the one that ended it, into those of its prompt
};

struct GenerateStats {
  int64_t preemptions = 0;        // times a sequence gave back its blocks
  int64_t recomputed_tokens = 0;  // rows computed again for them
  int64_t blocks = 0, peak_blocks = 0, block_bytes = 0;
};

struct Generated {
  std::vector<Sample> samples;  // prompt 0 sample 0, prompt 0 sample 1, ...
  GenerateStats stats;
};

}  // namespace zazen
