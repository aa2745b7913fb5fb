// AdamW with decoupled weight decay (Loshchilov and Hutter 2019), in the order of operations of torch.optim.AdamW.
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/ops.h"

namespace zazen::ZAZEN_ISA {
namespace {

// The factors of the update, rounded to float once.
struct Factors {
  F32x16 decay, gradient_scale, beta2, rest1, rest2, root_bias2, eps, step;

  explicit Factors(const AdamwArgs& args)
      : decay(set1(static_cast<float>(1.0 - args.lr * args.weight_decay))),
        gradient_scale(set1(static_cast<float>(args.gradient_scale))),
        beta2(set1(static_cast<float>(args.beta2))),
        rest1(set1(static_cast<float>(1.0 - args.beta1))),
        rest2(set1(static_cast<float>(1.0 - args.beta2))),
        root_bias2(set1(static_cast<float>(__builtin_sqrt(args.bias2)))),
        eps(set1(static_cast<float>(args.eps))),
        step(set1(static_cast<float>(args.lr / args.bias1))) {}
};

// w -= lr wd w; m += (1 - beta1) (g - m); v = beta2 v + (1 - beta2) g^2; w -= lr / bias1 * m / (sqrt(v) / sqrt(bias2) + eps);
// then g = 0.
void update(float* w, float* g, float* m, float* v, int64_t n, const Factors& f) {
  for_lanes(n, [&](int64_t i, auto lanes) {
    const F32x16 gradient = lanes.load(g + i) * f.gradient_scale, before = lanes.load(m + i);
    const F32x16 mean = fma(gradient - before, f.rest1, before);
    const F32x16 square = fma(gradient * gradient, f.rest2, lanes.load(v + i) * f.beta2);
    const F32x16 size = sqrt(square) / f.root_bias2 + f.eps;
    lanes.store(g + i, zero());
    lanes.store(m + i, mean);
    lanes.store(v + i, square);
    lanes.store(w + i, lanes.load(w + i) * f.decay - f.step * (mean / size));
  });
}

}  // namespace

void adamw(ThreadPool& pool, float* w, float* g, float* m, float* v, int64_t n, const AdamwArgs& args) {
  const Factors factors(args);
  parallel_pieces(pool, n, task_items(1, kLanes), [&](int64_t begin, int64_t end) {
    update(w + begin, g + begin, m + begin, v + begin, end - begin, factors);
  });
}

}  // namespace zazen::ZAZEN_ISA
