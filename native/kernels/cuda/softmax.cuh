// The softmax statistics of one row of logits by one block, in one pass over memory. Sampling and training share this: that is
// why the log-prob recorded at sampling has the bits of the one that training computes.
//
// A thread keeps the largest logit z that it has seen, the sum of exp(z - max) and of exp(z - max) (z - max), and rescales the
// sums when the maximum of its next eight is larger; then threads are joined by lanes and by warps, an order that is a function
// of V alone.
#pragma once

#include <type_traits>

#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/math.cuh"

namespace zazen::cuda {

struct SoftmaxSums {
  float max;
  float sum;       // of exp(z - max)
  float weighted;  // of exp(z - max) * (z - max); NaN when a logit is -inf
};

__device__ __forceinline__ float row_lse(const SoftmaxSums& s) {
  return s.max + static_cast<float>(log(static_cast<double>(s.sum)));
}

constexpr float kNoLogit = -3.4e38f;  // the maximum of nothing: finite, so that differences are

// The same sums around a maximum that is at least as large.
__device__ __forceinline__ SoftmaxSums rescaled(const SoftmaxSums& s, float max) {
  const float change = s.max - max, factor = exponential(change);
  return {max, s.sum * factor, (s.weighted + s.sum * change) * factor};
}
__device__ __forceinline__ SoftmaxSums joined(const SoftmaxSums& a, const SoftmaxSums& b) {
  const float max = larger(a.max, b.max);
  const SoftmaxSums x = rescaled(a, max), y = rescaled(b, max);
  return {max, x.sum + y.sum, x.weighted + y.weighted};
}

// The statistics of z [V] times scale; every thread has them. With a scale that is not 1 an f32 row is multiplied by it in
// place; one that is const, of f32 or bf16, stays as it is.
template <bool Aligned, class E>
__device__ SoftmaxSums softmax_row(SoftmaxSums (&room)[kWarps], E* z, int64_t V, float scale) {
  SoftmaxSums s{kNoLogit, 0.0f, 0.0f};
  for_row(V, [&](int64_t v, int64_t left) {
    Eight a = load_eight<Aligned>(z + v, left);
    if (scale != 1.0f) {
      a = each([&](int i) { return a.v[i] * scale; });
      if constexpr (!std::is_const_v<E>) store_eight<Aligned>(z + v, a, left);
    }
    float top = s.max;
    for (int i = 0; i < kEight; ++i) top = i < left ? larger(a.v[i], top) : top;
    s = rescaled(s, top);
    for (int i = 0; i < kEight; ++i) {
      if (i >= left) continue;
      const float t = a.v[i] - top, e = exponential(t);
      s.sum = s.sum + e;
      s.weighted = fmaf(e, t, s.weighted);
    }
  });
#pragma unroll
  for (int away = 1; away < kWarp; away *= 2) {
    const SoftmaxSums other{__shfl_xor_sync(kWholeWarp, s.max, away), __shfl_xor_sync(kWholeWarp, s.sum, away),
                            __shfl_xor_sync(kWholeWarp, s.weighted, away)};
    s = joined(s, other);
  }
  if (threadIdx.x % kWarp == 0) room[threadIdx.x / kWarp] = s;
  __syncthreads();
  s = room[0];
#pragma unroll
  for (int warp = 1; warp < kWarps; ++warp) s = joined(s, room[warp]);
  return s;
}

}  // namespace zazen::cuda
