// SwiGLU (kernels/cpu/swiglu.cc has the formulas, whose bits these are). Rows are one flat array of T * I elements; a thread
// takes eight. Limit: memory bandwidth, each array read or written once.
#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/ops.h"

namespace zazen::cuda {
namespace {

__device__ __forceinline__ float sigmoid(float g) { return 1.0f / (1.0f + exponential(0.0f - g)); }

template <bool Aligned, class E>
__global__ void __launch_bounds__(kThreads) forward_kernel(E* y, const E* gate, const E* up, int64_t n) {
  const int64_t at = first_element(), left = n - at;
  const Eight g = load_eight<Aligned>(gate + at, left), u = load_eight<Aligned>(up + at, left);
  store_eight<Aligned>(y + at, each([&](int i) { return g.v[i] * sigmoid(g.v[i]) * u.v[i]; }), left);
}

// y = g s u with s = sigmoid(g): du = dy g s, dg = dy u s (1 + g (1 - s)).
template <bool Aligned, class E>
__global__ void __launch_bounds__(kThreads) backward_kernel(E* gate, E* up, const float* dy, int64_t n) {
  const int64_t at = first_element(), left = n - at;
  const Eight g = load_eight<Aligned>(gate + at, left), u = load_eight<Aligned>(up + at, left);
  const Eight d = load_eight<Aligned>(dy + at, left), s = each([&](int i) { return sigmoid(g.v[i]); });
  const auto of_gate = [&](int i) { return d.v[i] * u.v[i] * (s.v[i] * fmaf(g.v[i], 1.0f - s.v[i], 1.0f)); };
  store_eight<Aligned>(gate + at, each(of_gate), left);
  store_eight<Aligned>(up + at, each([&](int i) { return d.v[i] * (g.v[i] * s.v[i]); }), left);
}

}  // namespace

void swiglu_forward(ThreadPool&, TensorRef y, TensorView gate, TensorView up, int64_t T, int64_t I) {
  with_type(y, [&]<class E>(E* out) {
    with_flag(all_aligned(out, gate.as<E>(), up.as<E>()), [&]<bool aligned>(Flag<aligned>) {
      launch({"swiglu_forward", {{"T", T}, {"I", I}}}, forward_kernel<aligned, E>, flat_grid(T * I), out, gate.as<E>(),
             up.as<E>(), T * I);
    });
  });
}

void swiglu_backward(ThreadPool&, TensorRef gate, TensorRef up, const float* dy, int64_t T, int64_t I) {
  with_type(gate, [&]<class E>(E* gates) {
    with_flag(all_aligned(gates, up.as<E>(), dy), [&]<bool aligned>(Flag<aligned>) {
      launch({"swiglu_backward", {{"T", T}, {"I", I}}}, backward_kernel<aligned, E>, flat_grid(T * I), gates, up.as<E>(), dy,
             T * I);
    });
  });
}

}  // namespace zazen::cuda
