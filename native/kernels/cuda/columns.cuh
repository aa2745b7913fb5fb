// Sums over tokens for each column, without atomics: segments of 128 tokens are summed in token order by one thread for each
// column, then the segments in order are added to what the output holds. The order depends on the number of tokens of the call
// alone. Limit: memory bandwidth; the sums of segments are 1/128 of what is read.
#pragma once

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/workspace.h"
#include "kernels/kernels.h"

namespace zazen::cuda {

constexpr int64_t kSegment = 128;   // tokens
constexpr int kColumnThreads = 64;  // columns of a block

// sums [segments, H]. term.add_to(sum, t, at) adds what token t has for the element `at` = t * H + h.
template <class Term>
__global__ void __launch_bounds__(kColumnThreads) segment_kernel(float* sums, Term term, int64_t T, int64_t H) {
  const int64_t h = static_cast<int64_t>(blockIdx.y) * kColumnThreads + threadIdx.x;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kSegment, last = first + kSegment < T ? first + kSegment : T;
  if (h >= H) return;
  float sum = 0.0f;
#pragma unroll 8
  for (int64_t t = first; t < last; ++t) sum = term.add_to(sum, t, t * H + h);
  sums[blockIdx.x * H + h] = sum;
}

template <int = 0>
__global__ void __launch_bounds__(kColumnThreads) join_kernel(float* out, const float* sums, int64_t segments, int64_t H) {
  const int64_t h = static_cast<int64_t>(blockIdx.x) * kColumnThreads + threadIdx.x;
  if (h >= H) return;
  float sum = out[h];
#pragma unroll 8
  for (int64_t s = 0; s < segments; ++s) sum = sum + sums[s * H + h];
  out[h] = sum;
}

// out [H] += the sum of the term over T tokens.
template <class Term>
void add_columns(const Call& call, float* out, const Term& term, int64_t T, int64_t H) {
  const int64_t segments = ceil_div(T, kSegment), blocks = ceil_div(H, kColumnThreads);
  if (segments == 0) return;
  float* sums = workspace<float>(segments * H);
  launch(call, segment_kernel<Term>, {.x = segments, .y = blocks, .threads = kColumnThreads}, sums, term, T, H);
  launch(call, join_kernel<>, {.x = blocks, .threads = kColumnThreads}, out, sums, segments, H);
}

}  // namespace zazen::cuda
