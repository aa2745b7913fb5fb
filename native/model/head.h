// The head over chosen rows, in chunks: logits exist for one chunk at a time. A scalar head's are one column.
#pragma once

#include <algorithm>
#include <vector>

#include "core/tensor.h"
#include "model/transformer.h"

namespace zazen {

constexpr int64_t kHeadChunkBytes = int64_t{512} << 20;  // logits of one chunk
constexpr int64_t kHeadChunkMaxRows = 4096;
constexpr int64_t kHeadChunkMinRows = 64;

inline int64_t head_chunk_rows(const ModelSpec& spec) {
  const int64_t fits = kHeadChunkBytes / (spec.padded_outputs() * static_cast<int64_t>(sizeof(float)));
  return std::clamp(fits, kHeadChunkMinRows, kHeadChunkMaxRows);
}

// C rows of a chunk, R rows in all.
struct HeadWorkspace {
  TensorBuffer hidden;     // [C, H], of the model's type
  Buffer<float> dhidden;   // [C, H]
  Buffer<float> logits;    // [C, padded outputs]
  TensorBuffer lora;       // [C, rank], of the model's type: scale * A h of the head's adapter
  Buffer<float> lora_low;  // [C, rank]: A h, then its gradient
  // Of a scalar head logp is its output.
  Buffer<float> logp, lse, entropy, dlogp, dentropy;                       // [R]
  Buffer<float> old, reference, sampler, importance, advantages, weights;  // [R]
  Buffer<float> returns;                                                   // [R]
  static constexpr int64_t kVectors = 12;                                  // the arrays [R]
  // What plan would make room for.
  static int64_t bytes(const ModelSpec& spec, int64_t rows) {
    const int64_t c = std::min(rows, head_chunk_rows(spec)), f32 = dtype_bytes(DType::f32);
    const int64_t inputs = (spec.hidden + spec.head_rank()) * (dtype_bytes(spec.dtype) + f32);
    return checked_sum(c * (inputs + spec.padded_outputs() * f32), checked_product(rows, kVectors * f32));
  }
  void plan(const ModelSpec& spec, int64_t rows) {
    const auto r = static_cast<size_t>(rows), c = static_cast<size_t>(std::min(rows, head_chunk_rows(spec)));
    hidden.reserve(spec.dtype, static_cast<int64_t>(c) * spec.hidden);
    dhidden.reserve(c * static_cast<size_t>(spec.hidden));
    logits.reserve(c * static_cast<size_t>(spec.padded_outputs()));
    lora.reserve(spec.dtype, static_cast<int64_t>(c) * spec.head_rank());
    lora_low.reserve(c * static_cast<size_t>(spec.head_rank()));
    for (auto* b :
         {&logp, &lse, &entropy, &dlogp, &dentropy, &old, &reference, &sampler, &importance, &advantages, &weights, &returns})
      b->reserve(r);
  }
};

// Raw logits [R, padded outputs] of chosen rows of `normed` [T, H]; an adapter's chains continue those of the weight.
inline void head_logits(const Transformer& model, TensorView weights, TensorView normed, const int32_t* rows, int64_t R,
                        HeadWorkspace& ws) {
  const ModelSpec& s = model.spec();
  const Kernels& k = model.kernels();
  const LinearParameters& head = model.parameters().head();
  const int64_t ld = s.padded_outputs(), rank = head.a.rows;
  k.gather_rows(model.pool(), ws.hidden.ref(), normed, rows, R, s.hidden);
  k.linear_forward(model.pool(), ws.logits.data(), ld, ws.hidden.view(), s.hidden, weights + head.offset, R, s.outputs(),
                   s.hidden, false);
  if (!head.is_adapted()) return;
  k.linear_forward(model.pool(), ws.lora_low.data(), rank, ws.hidden.view(), s.hidden, weights + head.a.offset, R, rank,
                   s.hidden, false);
  k.scale(model.pool(), ws.lora.ref(), ws.lora_low.data(), s.lora.scale, R * rank);
  k.linear_forward(model.pool(), ws.logits.data(), ld, ws.lora.view(), rank, weights + head.b.offset, R, s.outputs(), rank,
                   true);
}

// What the one output of a scalar head is for R rows [R], out of the logits and into them; the padding becomes zero.
inline void head_outputs(const ModelSpec& spec, const HeadWorkspace& ws, float* out, int64_t R) {
  for (int64_t r = 0; r < R; ++r) out[r] = ws.logits[static_cast<size_t>(r * spec.padded_outputs())];
}
inline void set_head_outputs(const ModelSpec& spec, HeadWorkspace& ws, const float* in, int64_t R) {
  std::fill_n(ws.logits.data(), R * spec.padded_outputs(), 0.0f);
  for (int64_t r = 0; r < R; ++r) ws.logits[static_cast<size_t>(r * spec.padded_outputs())] = in[r];
}

}  // namespace zazen
