// The best of a row's logits by one block of 256 threads.
#pragma once

#include "kernels/cuda/lanes.cuh"

namespace zazen::cuda {

// A logit and its id; of two, the better one has the larger logit, or the lower id.
struct Candidate {
  float logit;
  int32_t id;
};
__device__ __forceinline__ bool better(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

constexpr int32_t kNoId = INT32_MAX;

// The best candidate of row [V] that is worse than `after`; every thread has it. Its id is kNoId where there is none. `room`
// may be used again at once.
__device__ inline Candidate next_best(Candidate (&room)[kWarps], const float* row, int64_t V, const Candidate& after) {
  Candidate best{-INFINITY, kNoId};
  for (int64_t v = threadIdx.x; v < V; v += kThreads) {
    const Candidate here{row[v], static_cast<int32_t>(v)};
    if (better(after, here) && better(here, best)) best = here;
  }
#pragma unroll
  for (int away = 1; away < kWarp; away *= 2) {
    const Candidate other{__shfl_xor_sync(kWholeWarp, best.logit, away), __shfl_xor_sync(kWholeWarp, best.id, away)};
    if (better(other, best)) best = other;
  }
  if (threadIdx.x % kWarp == 0) room[threadIdx.x / kWarp] = best;
  __syncthreads();
  for (int warp = 0; warp < kWarps; ++warp)
    if (better(room[warp], best)) best = room[warp];
  __syncthreads();
  return best;
}
__device__ inline Candidate first_best(Candidate (&room)[kWarps], const float* row, int64_t V) {
  return next_best(room, row, V, {INFINITY, -1});
}

}  // namespace zazen::cuda
