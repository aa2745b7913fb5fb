// AdamW (kernels/cpu/adamw.cc has the formulas, whose bits these are), moments in f32 or in bf16 with stochastic rounding. A
// thread takes eight elements. Limit: memory bandwidth; an element moves 32 bytes with f32 moments and 24 with bf16 ones.
#include <cmath>

#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/ops.h"

namespace zazen::cuda {
namespace {

// The factors of the update, rounded to float once.
struct Factors {
  float decay, gradient_scale, beta2, rest1, rest2, root_bias2, eps, step;

  explicit Factors(const AdamwArgs& args)
      : decay(static_cast<float>(1.0 - args.lr * args.weight_decay)),
        gradient_scale(static_cast<float>(args.gradient_scale)),
        beta2(static_cast<float>(args.beta2)),
        rest1(static_cast<float>(1.0 - args.beta1)),
        rest2(static_cast<float>(1.0 - args.beta2)),
        root_bias2(static_cast<float>(std::sqrt(args.bias2))),
        eps(static_cast<float>(args.eps)),
        step(static_cast<float>(args.lr / args.bias1)) {}
};

// What keys the rounding of bf16 moments.
struct Key {
  uint32_t step;
  int64_t first;
};

// A mix of 32 bits in which every input bit reaches every output bit (Wellons 2018, "lowbias32").
__device__ __forceinline__ uint32_t mixed(uint32_t x) {
  x = (x ^ x >> 16) * 0x7FEB352Du;
  x = (x ^ x >> 15) * 0x846CA68Bu;
  return x ^ x >> 16;
}

__device__ __forceinline__ float bits_added(float value, uint32_t below) {
  return __uint_as_float((__float_as_uint(value) + below) & 0xFFFF0000u);
}

// f32 moments stay as they are; bf16 ones are rounded up or down at random: bits of (step, element) are added below what is
// kept, half of them to m and half to v.
__device__ __forceinline__ void round_moments(float*, Eight&, Eight&, Key, int64_t) {}
__device__ __forceinline__ void round_moments(bf16*, Eight& mean, Eight& square, Key key, int64_t at) {
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    const uint64_t element = static_cast<uint64_t>(key.first + at + i);
    const uint32_t noise = mixed(mixed(key.step ^ static_cast<uint32_t>(element >> 32)) + static_cast<uint32_t>(element));
    mean.v[i] = bits_added(mean.v[i], noise >> 16);
    square.v[i] = bits_added(square.v[i], noise & 0xFFFF);
  }
}

template <bool Aligned, class M>
__global__ void __launch_bounds__(kThreads)
    update_kernel(float* w, float* g, M* m, M* v, int64_t n, const Factors f, const Key key) {
  const int64_t at = first_element(), left = n - at;
  const Eight raw = load_eight<Aligned>(g + at, left), before = load_eight<Aligned>(m + at, left);
  const Eight squares = load_eight<Aligned>(v + at, left), weight = load_eight<Aligned>(w + at, left);
  const Eight gradient = each([&](int i) { return raw.v[i] * f.gradient_scale; });
  Eight mean = each([&](int i) { return fmaf(gradient.v[i] - before.v[i], f.rest1, before.v[i]); });
  Eight square = each([&](int i) { return fmaf(gradient.v[i] * gradient.v[i], f.rest2, squares.v[i] * f.beta2); });
  const auto moved = [&](int i) {
    const float size = sqrtf(square.v[i]) / f.root_bias2 + f.eps;
    return weight.v[i] * f.decay - f.step * (mean.v[i] / size);
  };
  store_eight<Aligned>(w + at, each(moved), left);
  store_eight<Aligned>(g + at, each([](int) { return 0.0f; }), left);
  round_moments(m, mean, square, key, at);
  store_eight<Aligned>(m + at, mean, left);
  store_eight<Aligned>(v + at, square, left);
}

}  // namespace

void adamw(ThreadPool&, float* w, float* g, TensorRef m, TensorRef v, int64_t n, const AdamwArgs& args) {
  with_type(m, [&]<class M>(M* means) {
    with_flag(all_aligned(w, g, means, v.as<M>()), [&]<bool aligned>(Flag<aligned>) {
      launch({"adamw", {{"n", n}, {"step", args.step}}}, update_kernel<aligned, M>, flat_grid(n), w, g, means, v.as<M>(), n,
             Factors(args), Key{static_cast<uint32_t>(args.step), args.first});
    });
  });
}

}  // namespace zazen::cuda
