// Log-probs, entropies and their gradients over rows of logits [R, V], f32 (kernels/cpu/head.cc has the formulas). The matmul
// that makes the logits, and the cutting into chunks, are the caller's.
//
// Forward: a block a row, one pass (softmax.cuh). Backward: every element on its own, in place. Limit: memory bandwidth; few
// rows of a large vocabulary are bound by what one multiprocessor reads.
#include "kernels/cuda/candidate.cuh"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/softmax.cuh"

namespace zazen::cuda {
namespace {

struct ForwardShared {
  SoftmaxSums sums[kWarps];
};

template <bool Aligned>
__global__ void __launch_bounds__(kThreads) forward_kernel(float* logits, int64_t ld, const int32_t* targets, float scale,
                                                           float* logp, float* lse, float* entropy, int64_t V) {
  const int64_t r = blockIdx.x;
  float* row = logits + r * ld;
  const SoftmaxSums s = softmax_row<Aligned>(shared_memory<ForwardShared>().sums, row, V, scale);
  if (threadIdx.x != 0) return;
  const double log_sum = log(static_cast<double>(s.sum));
  const float total = row_lse(s);
  lse[r] = total;
  if (logp) logp[r] = row[targets[r]] - total;
  if (entropy) entropy[r] = static_cast<float>(log_sum - static_cast<double>(s.weighted) / static_cast<double>(s.sum));
}

struct RowGradient {
  float lse, entropy, dlogp, dentropy;
};

// d loss / d raw z = (dlogp (1[v = target] - p) - dentropy p (z - lse + H)) / T, with p = exp(z - lse).
__device__ __forceinline__ float gradient(const RowGradient& row, float z, bool is_target, float inverse) {
  const float logp = z - row.lse, p = exponential(logp);
  if (is_target) return (row.dlogp * (1.0f - p) - p * (row.dentropy * (logp + row.entropy))) * inverse;
  return 0.0f - p * (row.dentropy * (logp + row.entropy) + row.dlogp) * inverse;
}

template <bool Aligned>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(float* logits, int64_t ld, const int32_t* targets, const float* lse, const float* entropy,
                    const float* dlogp, const float* dentropy, float inverse, int64_t V, int64_t columns) {
  const int64_t r = blockIdx.x, v = (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x) * kEight, left = columns - v;
  if (left <= 0) return;
  const RowGradient row{lse[r], dentropy ? entropy[r] : 0.0f, dlogp[r], dentropy ? dentropy[r] : 0.0f};
  const int64_t target = targets[r] - v;
  float* at = logits + r * ld + v;
  const Eight z = load_eight<Aligned>(at, V - v);
  const auto value = [&](int i) { return v + i < V ? gradient(row, z.v[i], i == target, inverse) : 0.0f; };
  store_eight<Aligned>(at, each(value), left);
}

struct TopShared {
  Candidate best[kWarps];
};

// k passes over a row, of which all but the first find it in L2.
__global__ void __launch_bounds__(kThreads)
    top_kernel(int32_t* ids, float* logprobs, const float* logits, int64_t ld, const float* lse, int64_t k, int64_t V) {
  const int64_t r = blockIdx.x;
  Candidate last{INFINITY, -1};
  for (int64_t i = 0; i < k; ++i) {
    last = next_best(shared_memory<TopShared>().best, logits + r * ld, V, last);
    if (threadIdx.x != 0) continue;
    ids[r * k + i] = last.id;
    logprobs[r * k + i] = last.logit - lse[r];
  }
}

}  // namespace

void head_forward(ThreadPool&, float* logits, int64_t ld, const int32_t* targets, float temperature, float* logp, float* lse,
                  float* entropy, int64_t R, int64_t V) {
  with_flag(aligned_rows(ld, logits), [&]<bool aligned>(Flag<aligned>) {
    launch({"head_forward", {{"R", R}, {"V", V}}}, forward_kernel<aligned>,
           {.x = R, .threads = kThreads, .shared_bytes = sizeof(ForwardShared)}, logits, ld, targets, 1.0f / temperature, logp,
           lse, entropy, V);
  });
}

void head_backward(ThreadPool&, float* logits, int64_t ld, const int32_t* targets, const float* lse, const float* entropy,
                   const float* dlogp, const float* dentropy, float temperature, int64_t R, int64_t V) {
  const int64_t padded = ceil_div(V, kPanel) * kPanel, columns = padded < ld ? padded : ld;
  with_flag(aligned_rows(ld, logits), [&]<bool aligned>(Flag<aligned>) {
    launch({"head_backward", {{"R", R}, {"V", V}}}, backward_kernel<aligned>,
           {.x = R, .y = ceil_div(columns, kThreads * kEight), .threads = kThreads}, logits, ld, targets, lse, entropy, dlogp,
           dentropy, 1.0f / temperature, V, columns);
  });
}

void head_top(ThreadPool&, int32_t* ids, float* logprobs, const float* logits, int64_t ld, const float* lse, int64_t k,
              int64_t R, int64_t V) {
  if (k <= 0) return;
  launch({"head_top", {{"R", R}, {"V", V}, {"k", k}}}, top_kernel,
         {.x = R, .threads = kThreads, .shared_bytes = sizeof(TopShared)}, ids, logprobs, logits, ld, lse, k, V);
}

}  // namespace zazen::cuda
