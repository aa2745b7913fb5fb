// The softmax statistics of one row of logits. Sampling and training share this function: that is why the log-prob recorded
// at sampling has the bits of the one that training computes.
#pragma once

#include "kernels/cpu/lanes.h"
#include "kernels/kernels.h"

namespace zazen::ZAZEN_ISA {

struct RowSoftmax {
  float max;
  float sum;       // of exp(z - max)
  float weighted;  // of exp(z - max) * (z - max); NaN when a logit is -inf
  float lse;       // max + log(sum)
  double log_sum;
};

constexpr int64_t kPrefixes = 128;  // partial sums of a row at most

// Ids between two partial sums: enough for at most kPrefixes of them, a multiple of the lanes.
inline int64_t prefix_step(int64_t V) { return ceil_div(V, kPrefixes * 4 * kLanes) * 4 * kLanes; }

inline float row_max(const float* z, int64_t V) {
  F32x16 top = set1(-__builtin_inff());
  for_lanes(V, [&](int64_t i, auto lanes) { top = max(top, lanes.keep(lanes.load(z + i), top)); });
  return max(top);
}

// Multiplies the row by `scale` in place (not at all when it is 1) and returns its largest element.
inline float scale_and_max(float* z, int64_t V, float scale) {
  if (scale == 1.0f) return row_max(z, V);
  F32x16 top = set1(-__builtin_inff());
  for_lanes(V, [&](int64_t i, auto lanes) {
    const F32x16 scaled = lanes.load(z + i) * set1(scale);
    lanes.store(z + i, scaled);
    top = max(top, lanes.keep(scaled, top));
  });
  return max(top);
}

// Scales the row and reduces it. `prefixes` (may be null) takes, for every prefix_step(V) ids, the sum up to their end; the
// last one is `sum` itself and they never fall, because each lane and the fold are monotone.
inline RowSoftmax softmax_row(float* z, int64_t V, float scale, float* prefixes) {
  RowSoftmax row;
  row.max = scale_and_max(z, V, scale);
  F32x16 total = zero(), weighted = zero();
  const int64_t step = prefix_step(V);
  for (int64_t begin = 0; begin < V; begin += step) {
    const float* block = z + begin;
    for_lanes(V - begin < step ? V - begin : step, [&](int64_t i, auto lanes) {
      const F32x16 t = lanes.load(block + i) - set1(row.max);
      const F32x16 e = lanes.keep(exp(t), zero());
      total = total + e;
      weighted = fma(e, t, weighted);
    });
    if (prefixes) prefixes[begin / step] = sum(total);
  }
  row.sum = sum(total);
  row.weighted = sum(weighted);
  row.log_sum = __builtin_log(static_cast<double>(row.sum));
  row.lse = row.max + static_cast<float>(row.log_sum);
  return row;
}

// H = lse - sum(p z) = log(sum) - sum(e (z - max)) / sum, which does not cancel for large logits.
inline float row_entropy(const RowSoftmax& row) {
  return static_cast<float>(row.log_sum - static_cast<double>(row.weighted) / static_cast<double>(row.sum));
}

}  // namespace zazen::ZAZEN_ISA
