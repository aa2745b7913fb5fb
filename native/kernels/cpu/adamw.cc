// AdamW with decoupled weight decay (Loshchilov and Hutter 2019), in the order of operations of torch.optim.AdamW.
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/ops.h"

namespace zazen::ZAZEN_ISA {
namespace {

// Moments as they lie in memory. f32 is kept as it is.
struct F32Moments {
  float *m, *v;
  F32x16 mean(int64_t i, auto lanes) const { return lanes.load(m + i); }
  F32x16 square(int64_t i, auto lanes) const { return lanes.load(v + i); }
  void put(int64_t i, auto lanes, F32x16 mean, F32x16 square) const {
    lanes.store(m + i, mean);
    lanes.store(v + i, square);
  }
};

// A mix of 32 bits in which every input bit reaches every output bit (Wellons 2018, "lowbias32").
inline uint32_t mixed(uint32_t x) {
  x = (x ^ x >> 16) * 0x7FEB352Du;
  x = (x ^ x >> 15) * 0x846CA68Bu;
  return x ^ x >> 16;
}

// bf16 moments, rounded up or down at random: bits of (step, element) are added below what is kept. Half of them serve m, and
// half v.
struct Bf16Moments {
  bf16 *m, *v;
  uint32_t step;
  int64_t first;
  F32x16 mean(int64_t i, auto lanes) const { return lanes.load(m + i); }
  F32x16 square(int64_t i, auto lanes) const { return lanes.load(v + i); }
  void put(int64_t i, auto lanes, F32x16 mean, F32x16 square) const {
    uint32_t means[kLanes], squares[kLanes];
    store(reinterpret_cast<float*>(means), mean);
    store(reinterpret_cast<float*>(squares), square);
    for (uint32_t j = 0; j < kLanes; ++j) {
      const uint64_t element = static_cast<uint64_t>(first + i) + j;
      const uint32_t noise = mixed(mixed(step ^ static_cast<uint32_t>(element >> 32)) + static_cast<uint32_t>(element));
      means[j] = (means[j] + (noise >> 16)) & kUpperHalf;
      squares[j] = (squares[j] + (noise & 0xFFFF)) & kUpperHalf;
    }
    lanes.store(m + i, load(reinterpret_cast<const float*>(means)));
    lanes.store(v + i, load(reinterpret_cast<const float*>(squares)));
  }
};

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
template <class Moments>
void update(float* w, float* g, const Moments& moments, int64_t n, const Factors& f) {
  for_lanes(n, [&](int64_t i, auto lanes) {
    const F32x16 gradient = lanes.load(g + i) * f.gradient_scale, before = moments.mean(i, lanes);
    const F32x16 mean = fma(gradient - before, f.rest1, before);
    const F32x16 square = fma(gradient * gradient, f.rest2, moments.square(i, lanes) * f.beta2);
    const F32x16 size = sqrt(square) / f.root_bias2 + f.eps;
    lanes.store(g + i, zero());
    moments.put(i, lanes, mean, square);
    lanes.store(w + i, lanes.load(w + i) * f.decay - f.step * (mean / size));
  });
}

}  // namespace

void adamw(ThreadPool& pool, float* w, float* g, TensorRef m, TensorRef v, int64_t n, const AdamwArgs& args) {
  const Factors factors(args);
  parallel_pieces(pool, n, task_items(1, kLanes), [&](int64_t begin, int64_t end) {
    const TensorRef means = m + begin, squares = v + begin;
    if (m.type == DType::f32)
      return update(w + begin, g + begin, F32Moments{means.as<float>(), squares.as<float>()}, end - begin, factors);
    const Bf16Moments moments{means.as<bf16>(), squares.as<bf16>(), static_cast<uint32_t>(args.step), args.first + begin};
    update(w + begin, g + begin, moments, end - begin, factors);
  });
}

}  // namespace zazen::ZAZEN_ISA
