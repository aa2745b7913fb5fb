// RMSNorm and its gradients (kernels/cpu/rmsnorm.cc has the formulas). Rows are row-major [T, H].
//
// Forward and the gradient of the input: one block of 256 threads a row. Thread j takes elements 8 j .. 8 j + 7 of every 2,048
// and chains their products in f32, then block_sum joins threads: an order that depends on H alone. The second pass finds the
// row in L1. Limit: memory bandwidth, each array read or written once.
//
// Gradient of the weight: a sum over tokens for each column (columns.cuh). Limit: memory bandwidth, dy and x read once.
#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/ops.h"

namespace zazen::cuda {
namespace {

struct Shared {
  float sums[kWarps];
};

template <bool Aligned, class Y, class X, class W>
__global__ void __launch_bounds__(kThreads) forward_kernel(Y* y, float* rstd, const X* x, const W* w, int64_t H, float eps) {
  Shared& shared = shared_memory<Shared>();
  const int64_t row = static_cast<int64_t>(blockIdx.x) * H;
  float squares = 0.0f;
  for_row(H, [&](int64_t h, int64_t left) {
    const Eight a = load_eight<Aligned>(x + row + h, left);
    for (int i = 0; i < kEight; ++i) squares = fmaf(a.v[i], a.v[i], squares);
  });
  const float scale = 1.0f / sqrtf(block_sum(squares, shared.sums) / static_cast<float>(H) + eps);
  if (threadIdx.x == 0) rstd[blockIdx.x] = scale;
  for_row(H, [&](int64_t h, int64_t left) {
    const Eight a = load_eight<Aligned>(x + row + h, left), b = load_eight<Aligned>(w + h, left);
    store_eight<Aligned>(y + row + h, each([&](int i) { return a.v[i] * scale * b.v[i]; }), left);
  });
}

// dx may be the residual: each element is read before it is written, by the same thread.
template <bool Aligned, class X, class W>
__global__ void __launch_bounds__(kThreads) backward_input_kernel(float* dx, const float* residual, const float* dy, const X* x,
                                                                  const W* w, const float* rstd, int64_t H) {
  Shared& shared = shared_memory<Shared>();
  const int64_t row = static_cast<int64_t>(blockIdx.x) * H;
  float products = 0.0f;
  for_row(H, [&](int64_t h, int64_t left) {
    const Eight a = load_eight<Aligned>(x + row + h, left), b = load_eight<Aligned>(w + h, left);
    const Eight d = load_eight<Aligned>(dy + row + h, left);
    for (int i = 0; i < kEight; ++i) products = fmaf(d.v[i] * b.v[i], a.v[i], products);
  });
  const float scale = rstd[blockIdx.x];
  const float pull = scale * scale * scale * (block_sum(products, shared.sums) / static_cast<float>(H));
  for_row(H, [&](int64_t h, int64_t left) {
    const Eight a = load_eight<Aligned>(x + row + h, left), b = load_eight<Aligned>(w + h, left);
    const Eight d = load_eight<Aligned>(dy + row + h, left), r = load_eight<Aligned>(residual + row + h, left);
    const auto gradient = [&](int i) { return r.v[i] + (d.v[i] * b.v[i] * scale - a.v[i] * pull); };
    store_eight<Aligned>(dx + row + h, each(gradient), left);
  });
}

template <class X>
struct WeightTerm {
  const float* dy;
  const X* x;
  const float* rstd;
  __device__ float add_to(float sum, int64_t t, int64_t at) const { return fmaf(dy[at], get(x + at) * rstd[t], sum); }
};

Grid row_grid(int64_t T) { return {.x = T, .threads = kThreads, .shared_bytes = sizeof(Shared)}; }

}  // namespace

void rmsnorm_forward(ThreadPool&, TensorRef y, float* rstd, TensorView x, TensorView w, int64_t T, int64_t H, float eps) {
  const Call call{"rmsnorm_forward", {{"T", T}, {"H", H}}};
  with_types(y, x, w, [&]<class Y, class X, class W>(Y* out, const X* in, const W* weight) {
    with_flag(aligned_rows(H, out, in, weight), [&]<bool aligned>(Flag<aligned>) {
      launch(call, forward_kernel<aligned, Y, X, W>, row_grid(T), out, rstd, in, weight, H, eps);
    });
  });
}

void rmsnorm_backward_input(ThreadPool&, float* dx, const float* residual, const float* dy, TensorView x, TensorView w,
                            const float* rstd, int64_t T, int64_t H) {
  const Call call{"rmsnorm_backward_input", {{"T", T}, {"H", H}}};
  with_types(x, w, [&]<class X, class W>(const X* in, const W* weight) {
    with_flag(aligned_rows(H, dx, residual, dy, in, weight), [&]<bool aligned>(Flag<aligned>) {
      launch(call, backward_input_kernel<aligned, X, W>, row_grid(T), dx, residual, dy, in, weight, rstd, H);
    });
  });
}

void rmsnorm_backward_weight(ThreadPool&, float* dw, const float* dy, TensorView x, const float* rstd, int64_t T, int64_t H) {
  const Call call{"rmsnorm_backward_weight", {{"T", T}, {"H", H}}};
  with_type(x, [&]<class X>(const X* in) { add_columns(call, dw, WeightTerm<X>{dy, in, rstd}, T, H); });
}

}  // namespace zazen::cuda
