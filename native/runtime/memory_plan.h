// How much memory an engine needs, before any of it is allocated: the sizes of the largest calls, counted by the code that lays
// them out. Engine::reserve takes memory for the same sizes.
#pragma once

#include <vector>

#include "runtime/engine.h"

namespace zazen {

// Calls of forward_backward or score at most; 0 tokens: none.
struct BatchBound {
  int64_t tokens = 0, longest = 0;
  int64_t sequences = 0;  // 0: unknown
  int64_t together = 1;   // sequences that a loss does not cut apart
};
struct Workload {
  BatchBound train, score;
  std::vector<GenerateBound> generate;
};

// What the largest calls of a workload lay out; 0: there are none of a kind.
struct WorkloadSize {
  MicroBatchBound train{}, score{};
  GenerateSize generate{};
  int64_t positions = 0;       // of the longest sequence
  int64_t base_positions = 0;  // of the longest that the base of adapters scores
};

// Throws KV_TOO_SMALL where a single sample does not fit, and TOO_LARGE where a count leaves 64 bits.
WorkloadSize measure(const EngineConfig& config, const ParameterList& parameters, const Workload& workload);

// Bytes. What later calls do not need is kept for the next, so the sum is the peak.
struct MemoryPlan {
  int64_t weights = 0, masters = 0, reference = 0, gradients = 0, moments = 0;
  int64_t activations = 0;  // of training, of scoring and of generation
  int64_t head = 0;         // logits of one chunk, of each of the three
  int64_t kv = 0;           // of sequences being generated
  int64_t workspace = 0;    // gradients between kernels, transposed weights, angles

  int64_t total() const;
};

// Throws BAD_SPEC, and as `measure`.
MemoryPlan plan_memory(const EngineConfig& config, const Workload& workload);

}  // namespace zazen
