// Thresholds in a row of logits by one block, without sorting and without memory: a pass over the row measures it at seven
// places at once, which cut the range in eight, so a threshold among all floats takes eleven passes. Counts, and sums in an
// order that is a function of V alone.
#pragma once

#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/math.cuh"

namespace zazen::cuda {

constexpr int kParts = 8, kProbes = kParts - 1;

template <class Sum>
struct ProbeRoom {
  Sum of[kWarps][kProbes];
};

// Sums over the block, by warp and then by the order of warps; every thread has them. `room` may be used again at once.
template <class Sum>
__device__ __forceinline__ void join_probes(ProbeRoom<Sum>& room, Sum (&sums)[kProbes]) {
#pragma unroll
  for (int j = 0; j < kProbes; ++j) sums[j] = lanes_sum(sums[j]);
  if (threadIdx.x % kWarp == 0)
    for (int j = 0; j < kProbes; ++j) room.of[threadIdx.x / kWarp][j] = sums[j];
  __syncthreads();
#pragma unroll
  for (int j = 0; j < kProbes; ++j) {
    sums[j] = room.of[0][j];
    for (int warp = 1; warp < kWarps; ++warp) sums[j] = sums[j] + room.of[warp][j];
  }
  __syncthreads();
}

// The largest key in low .. low + span - 1 that is accepted; `low` must be, and all below what is. `span` is a power of eight.
// measure(sums, low, step) adds what the thread has of the row to sums[j], for the key low + (j + 1) step; enough(sum) is
// whether a key is accepted.
template <class Sum, class Measure, class Enough>
__device__ int64_t search(ProbeRoom<Sum>& room, int64_t low, int64_t span, const Measure& measure, const Enough& enough) {
  while (span > 1) {
    span /= kParts;
    Sum sums[kProbes] = {};
    measure(sums, low, span);
    join_probes(room, sums);
    int64_t accepted = 0;
    for (int j = 0; j < kProbes; ++j) accepted += enough(sums[j]) ? 1 : 0;
    low += accepted * span;
  }
  return low;
}

// Integers in the order of floats. Past the largest of them the float is NaN, which nothing reaches.
constexpr int64_t kLowestKey = -2139095041;           // of minus infinity
constexpr int64_t kKeySpan = int64_t{1} << (3 * 11);  // more than there are floats
__device__ __forceinline__ float value_of(int64_t key) {
  if (key > INT32_MAX) return NAN;
  const auto bits = static_cast<int32_t>(key);
  return __uint_as_float(static_cast<unsigned>(bits ^ ((bits >> 31) & 0x7FFFFFFF)));
}

constexpr int kAhead = 4;  // steps of a row whose loads a thread has under way together

// Calls body(v, z[v]) for what a thread has of a row, in rising order.
template <bool Aligned, class Body>
__device__ __forceinline__ void for_logits(const float* z, int64_t V, const Body& body) {
  constexpr int64_t kStep = kThreads * kEight;
  int64_t v = static_cast<int64_t>(threadIdx.x) * kEight;
  for (; Aligned && v + (kAhead - 1) * kStep + kEight <= V; v += kAhead * kStep) {
    Eight a[kAhead];
#pragma unroll
    for (int s = 0; s < kAhead; ++s) a[s] = load_eight<Aligned>(z + v + s * kStep, kEight);
#pragma unroll
    for (int s = 0; s < kAhead; ++s)
#pragma unroll
      for (int i = 0; i < kEight; ++i) body(v + s * kStep + i, a[s].v[i]);
  }
  for (; v < V; v += kStep) {
    const Eight a = load_eight<Aligned>(z + v, V - v);
#pragma unroll
    for (int i = 0; i < kEight; ++i)
      if (v + i < V) body(v + i, a.v[i]);
  }
}
// z[v] = value(v, z[v])
template <bool Aligned, class Value>
__device__ __forceinline__ void change_logits(float* z, int64_t V, const Value& value) {
  for_row(V, [&](int64_t v, int64_t left) {
    const Eight a = load_eight<Aligned>(z + v, left);
    store_eight<Aligned>(z + v, each([&](int i) { return value(v + i, a.v[i]); }), left);
  });
}

// The largest float t for which enough(sum of share(z) over logits z >= t); the sum must be enough at minus infinity.
template <bool Aligned, class Sum, class Share, class Enough>
__device__ float threshold_of(ProbeRoom<Sum>& room, const float* z, int64_t V, const Share& share, const Enough& enough) {
  const auto measure = [&](Sum(&sums)[kProbes], int64_t low, int64_t step) {
    float probes[kProbes];
#pragma unroll
    for (int j = 0; j < kProbes; ++j) probes[j] = value_of(low + (j + 1) * step);
    for_logits<Aligned>(z, V, [&](int64_t, float logit) {
      const Sum part = share(logit);
#pragma unroll
      for (int j = 0; j < kProbes; ++j) sums[j] = sums[j] + (logit >= probes[j] ? part : Sum{0});
    });
  };
  return value_of(search(room, kLowestKey, kKeySpan, measure, enough));
}

// The first id past the first `count` logits that are `equal`, or any past all of them.
template <bool Aligned>
__device__ int64_t end_of_first(ProbeRoom<int32_t>& room, const float* z, int64_t V, float equal, int64_t count) {
  int64_t span = kParts;
  while (span <= V) span *= kParts;
  const auto measure = [&](int32_t(&sums)[kProbes], int64_t low, int64_t step) {
    for_logits<Aligned>(z, V, [&](int64_t v, float logit) {
      if (logit != equal) return;
#pragma unroll
      for (int j = 0; j < kProbes; ++j) sums[j] += v < low + (j + 1) * step ? 1 : 0;
    });
  };
  return search(room, 0, span, measure, [&](int32_t below) { return below <= count; });
}

}  // namespace zazen::cuda
