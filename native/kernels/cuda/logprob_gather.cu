// Log-prob gather over logits that are only read, bf16 among them: head.cu's forward without a place for the scaled logits.
// Limit: memory bandwidth for f32; in bf16 the exponentials take about as long as the reads.
#include "kernels/cuda/named.h"
#include "kernels/cuda/softmax.cuh"

namespace zazen::cuda {
namespace {

struct Shared {
  SoftmaxSums sums[kWarps];
};

template <bool Aligned, class E>
__global__ void __launch_bounds__(kThreads) gather_kernel(const E* logits, int64_t ld, const int32_t* targets, float scale,
                                                          float* logp, float* lse, float* entropy, int64_t V) {
  const int64_t r = blockIdx.x;
  const E* row = logits + r * ld;
  const SoftmaxSums s = softmax_row<Aligned>(shared_memory<Shared>().sums, row, V, scale);
  if (threadIdx.x != 0) return;
  const double log_sum = log(static_cast<double>(s.sum));
  const float total = s.max + static_cast<float>(log_sum);
  lse[r] = total;
  logp[r] = get(row + targets[r]) * scale - total;
  if (entropy) entropy[r] = static_cast<float>(log_sum - static_cast<double>(s.weighted) / static_cast<double>(s.sum));
}

}  // namespace

void logprob_gather(TensorView logits, int64_t ld, const int32_t* targets, float temperature, float* logp, float* lse,
                    float* entropy, int64_t R, int64_t V) {
  with_type(logits, [&]<class E>(const E* rows) {
    with_flag(aligned_rows(ld, rows), [&]<bool aligned>(Flag<aligned>) {
      launch({"logprob_gather", {{"R", R}, {"V", V}}}, gather_kernel<aligned, E>,
             {.x = R, .threads = kThreads, .shared_bytes = sizeof(Shared)}, rows, ld, targets, 1.0f / temperature, logp, lse,
             entropy, V);
    });
  });
}

}  // namespace zazen::cuda
