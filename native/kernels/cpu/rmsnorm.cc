// RMSNorm (Zhang and Sennrich 2019): y = x / sqrt(mean(x^2) + eps) * w, and its gradients.
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/ops.h"

namespace zazen::ZAZEN_ISA {
namespace {

constexpr int64_t kRowPasses = 3;  // a row is read about this often, so it counts as so many element operations

// One row: returns rstd.
template <class Y, class X, class W>
float forward_row(Y* y, const X* x, const W* w, int64_t H, float eps) {
  F32x16 squares = zero();
  for_lanes(H, [&](int64_t i, auto lanes) {
    const F32x16 a = lanes.load(x + i);
    squares = fma(a, a, squares);
  });
  const float rstd = 1.0f / __builtin_sqrtf(sum(squares) / static_cast<float>(H) + eps);
  for_lanes(H, [&](int64_t i, auto lanes) { lanes.store(y + i, lanes.load(x + i) * set1(rstd) * lanes.load(w + i)); });
  return rstd;
}

// y = x * rstd * w with rstd a function of x, so with g = dy * w:
//   dx = residual + rstd * g - x * rstd^3 / H * sum(g * x)
template <class X, class W>
void backward_row(float* dx, const float* residual, const float* dy, const X* x, const W* w, float rstd, int64_t H) {
  F32x16 products = zero();
  for_lanes(
      H, [&](int64_t i, auto lanes) { products = fma(lanes.load(dy + i) * lanes.load(w + i), lanes.load(x + i), products); });
  const float pull = rstd * rstd * rstd * (sum(products) / static_cast<float>(H));
  for_lanes(H, [&](int64_t i, auto lanes) {
    const F32x16 direct = lanes.load(dy + i) * lanes.load(w + i) * set1(rstd);
    lanes.store(dx + i, lanes.load(residual + i) + (direct - lanes.load(x + i) * set1(pull)));
  });
}

// dw += dy * (x * rstd), token after token, for n columns of rows with stride H.
template <class X>
void weight_gradient(float* dw, const float* dy, const X* x, const float* rstd, int64_t T, int64_t H, int64_t n) {
  for (int64_t t = 0; t < T; ++t)
    for_lanes(n, [&](int64_t i, auto lanes) {
      const F32x16 normed = lanes.load(x + t * H + i) * set1(rstd[t]);
      lanes.store(dw + i, fma(lanes.load(dy + t * H + i), normed, lanes.load(dw + i)));
    });
}

}  // namespace

void rmsnorm_forward(ThreadPool& pool, TensorRef y, float* rstd, TensorView x, TensorView w, int64_t T, int64_t H, float eps) {
  parallel_pieces(pool, T, task_items(kRowPasses * H), [&](int64_t begin, int64_t end) {
    with_types(y, x, w, [&](auto* out, const auto* in, const auto* weight) {
      for (int64_t t = begin; t < end; ++t) rstd[t] = forward_row(out + t * H, in + t * H, weight, H, eps);
    });
  });
}

void rmsnorm_backward_input(ThreadPool& pool, float* dx, const float* residual, const float* dy, TensorView x, TensorView w,
                            const float* rstd, int64_t T, int64_t H) {
  parallel_pieces(pool, T, task_items(kRowPasses * H), [&](int64_t begin, int64_t end) {
    with_types(x, w, [&](const auto* in, const auto* weight) {
      for (int64_t t = begin; t < end; ++t)
        backward_row(dx + t * H, residual + t * H, dy + t * H, in + t * H, weight, rstd[t], H);
    });
  });
}

void rmsnorm_backward_weight(ThreadPool& pool, float* dw, const float* dy, TensorView x, const float* rstd, int64_t T,
                             int64_t H) {
  parallel_pieces(pool, H, task_items(T, kColumnGranule), [&](int64_t begin, int64_t end) {
    with_type(x, [&](const auto* in) { weight_gradient(dw + begin, dy + begin, in + begin, rstd, T, H, end - begin); });
  });
}

}  // namespace zazen::ZAZEN_ISA
