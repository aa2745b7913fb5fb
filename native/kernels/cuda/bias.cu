// The bias of a linear layer: a block a row adds it; its gradient is a sum over tokens (columns.cuh). Limit: memory bandwidth.
#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/ops.h"

namespace zazen::cuda {
namespace {

template <bool Aligned, class Y, class B>
__global__ void __launch_bounds__(kThreads) forward_kernel(Y* y, const B* b, int64_t N) {
  Y* row = y + static_cast<int64_t>(blockIdx.x) * N;
  for_row(N, [&](int64_t n, int64_t left) {
    const Eight a = load_eight<Aligned>(row + n, left), bias = load_eight<Aligned>(b + n, left);
    store_eight<Aligned>(row + n, each([&](int i) { return a.v[i] + bias.v[i]; }), left);
  });
}

struct BiasTerm {
  const float* dy;
  __device__ float add_to(float sum, int64_t, int64_t at) const { return sum + dy[at]; }
};

}  // namespace

void bias_forward(ThreadPool&, TensorRef y, TensorView b, int64_t T, int64_t N) {
  with_types(y, b, [&]<class Y, class B>(Y* rows, const B* bias) {
    with_flag(aligned_rows(N, rows, bias), [&]<bool aligned>(Flag<aligned>) {
      launch({"bias_forward", {{"T", T}, {"N", N}}}, forward_kernel<aligned, Y, B>, {.x = T, .threads = kThreads}, rows, bias,
             N);
    });
  });
}

void bias_backward(ThreadPool&, float* db, const float* dy, int64_t T, int64_t N) {
  add_columns({"bias_backward", {{"T", T}, {"N", N}}}, db, BiasTerm{dy}, T, N);
}

}  // namespace zazen::cuda
