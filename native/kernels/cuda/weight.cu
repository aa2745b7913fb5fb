// Weights: turned for the gradient of the input, and rounded from their masters. On the device they are row-major, as their
// masters are. Limit: memory bandwidth, each array read or written once.
#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/ops.h"

namespace zazen::cuda {
namespace {

constexpr int kTurn = 32;  // a block turns 32 x 32 elements

template <class E>
struct TurnShared {
  E tile[kTurn][kTurn + 1];  // columns lie in different banks
};

template <class E>
__global__ void __launch_bounds__(kThreads) transpose_kernel(E* out, const E* w, int64_t count, int64_t K) {
  TurnShared<E>& shared = shared_memory<TurnShared<E>>();
  const int64_t n = static_cast<int64_t>(blockIdx.x) * kTurn, k = static_cast<int64_t>(blockIdx.y) * kTurn;
  const int lane = static_cast<int>(threadIdx.x) % kTurn, first = static_cast<int>(threadIdx.x) / kTurn;
  for (int i = first; i < kTurn; i += kThreads / kTurn)
    if (n + i < count && k + lane < K) shared.tile[i][lane] = w[(n + i) * K + k + lane];
  __syncthreads();
  for (int i = first; i < kTurn; i += kThreads / kTurn)
    if (k + i < K && n + lane < count) out[(k + i) * count + n + lane] = shared.tile[lane][i];
}

template <bool Aligned>
__global__ void __launch_bounds__(kThreads) round_kernel(bf16* out, const float* master, int64_t n) {
  const int64_t at = first_element(), left = n - at;
  store_eight<Aligned>(out + at, load_eight<Aligned>(master + at, left), left);
}

}  // namespace

void weight_transpose(ThreadPool&, TensorRef out, TensorView w, int64_t first, int64_t count, int64_t K) {
  with_type(out, [&]<class E>(E* to) {
    launch({"weight_transpose", {{"count", count}, {"K", K}}}, transpose_kernel<E>,
           {.x = ceil_div(count, kTurn), .y = ceil_div(K, kTurn), .threads = kThreads, .shared_bytes = sizeof(TurnShared<E>)},
           to, w.as<E>() + first * K, count, K);
  });
}

// Panels are the CPU's: here weights lie as their masters do.
void weight_round(ThreadPool&, TensorRef out, const float* master, int64_t n, bool) {
  with_flag(all_aligned(out.as<bf16>(), master), [&]<bool aligned>(Flag<aligned>) {
    launch({"weight_round", {{"n", n}}}, round_kernel<aligned>, flat_grid(n), out.as<bf16>(), master, n);
  });
}

}  // namespace zazen::cuda
