// A named kernel of the GPU alone: what is exported there for embedding and has no place in the op table.
#pragma once

#include "core/tensor.h"

namespace zazen::cuda {

// Log-probs, log-sum-exps and entropies (the last may be null) [R] of the targets [R] under softmax(logits / temperature), from
// rows of logits [R, V] in f32 or bf16 that lie `ld` apart. The logits are only read; the bits are those that head_forward has
// for the same values.
void logprob_gather(TensorView logits, int64_t ld, const int32_t* targets, float temperature, float* logp, float* lse,
                    float* entropy, int64_t R, int64_t V);

}  // namespace zazen::cuda
