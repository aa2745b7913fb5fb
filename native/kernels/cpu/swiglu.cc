// SwiGLU (Shazeer 2020): y = silu(gate) * up, silu(g) = g * sigmoid(g). Elementwise, so rows are one flat array.
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/ops.h"

namespace zazen::ZAZEN_ISA {
namespace {

constexpr int64_t kElementWork = 4;  // an exponential and a division, in element operations

inline F32x16 sigmoid(F32x16 g) { return set1(1.0f) / (set1(1.0f) + exp(zero() - g)); }

}  // namespace

void swiglu_forward(ThreadPool& pool, TensorRef y, TensorView gate, TensorView up, int64_t T, int64_t I) {
  parallel_pieces(pool, T * I, task_items(kElementWork, kLanes), [&](int64_t begin, int64_t end) {
    with_type(y + begin, [&]<class E>(E* out) {
      const E *gates = gate.as<E>() + begin, *ups = up.as<E>() + begin;
      for_lanes(end - begin, [&](int64_t i, auto lanes) {
        const F32x16 g = lanes.load(gates + i);
        lanes.store(out + i, g * sigmoid(g) * lanes.load(ups + i));
      });
    });
  });
}

// y = g s u with s = sigmoid(g): du = dy g s, dg = dy u s (1 + g (1 - s)).
void swiglu_backward(ThreadPool& pool, TensorRef gate, TensorRef up, const float* dy, int64_t T, int64_t I) {
  parallel_pieces(pool, T * I, task_items(kElementWork, kLanes), [&](int64_t begin, int64_t end) {
    with_type(gate + begin, [&]<class E>(E* gates) {
      E* ups = up.as<E>() + begin;
      for_lanes(end - begin, [&](int64_t i, auto lanes) {
        const F32x16 g = lanes.load(gates + i), u = lanes.load(ups + i), d = lanes.load(dy + begin + i);
        const F32x16 s = sigmoid(g);
        lanes.store(gates + i, d * u * (s * fma(g, set1(1.0f) - s, set1(1.0f))));
        lanes.store(ups + i, d * (g * s));
      });
    });
  });
}

}  // namespace zazen::ZAZEN_ISA
