// Ten AdamW steps against the algorithm in double.
#include "bf16.h"

namespace zazen::test {
namespace {

AdamwArgs args_of(int step) {
  AdamwArgs args{};
  args.lr = 3e-3;
  args.beta1 = 0.9;
  args.beta2 = 0.999;
  args.eps = 1e-8;
  args.weight_decay = 0.1;
  args.bias1 = 1 - std::pow(args.beta1, step);
  args.bias2 = 1 - std::pow(args.beta2, step);
  args.gradient_scale = 0.25;
  return args;
}
Floats gradient(int64_t n, int step) { return random_floats(n, 100 + static_cast<uint64_t>(step)); }

// Weights, then both moments, after ten steps.
Floats ten_steps(const Kernels& k, ThreadPool& pool, int64_t n, int64_t cut) {
  Floats w = random_floats(n, 1), m(w.size()), v(w.size());
  for (int step = 1; step <= 10; ++step) {
    Floats g = gradient(n, step);
    k.adamw(pool, w.data(), g.data(), m.data(), v.data(), cut, args_of(step));
    k.adamw(pool, w.data() + cut, g.data() + cut, m.data() + cut, v.data() + cut, n - cut, args_of(step));
  }
  append(w, m);
  append(w, v);
  return w;
}

TEST(adamw_matches_the_algorithm) {
  ThreadPool pool(2);
  for (const int64_t n : {1, 15, 33}) {
    Doubles w = doubles(random_floats(n, 1)), m(w.size()), v(w.size());
    for (int step = 1; step <= 10; ++step) {
      const AdamwArgs a = args_of(step);
      const Floats gradients = gradient(n, step);
      for (size_t i = 0; i < w.size(); ++i) {
        const double g = static_cast<double>(gradients[i]) * a.gradient_scale;
        w[i] *= 1 - a.lr * a.weight_decay;
        m[i] = a.beta1 * m[i] + (1 - a.beta1) * g;
        v[i] = a.beta2 * v[i] + (1 - a.beta2) * g * g;
        w[i] -= a.lr / a.bias1 * m[i] / (std::sqrt(v[i]) / std::sqrt(a.bias2) + a.eps);
      }
    }
    const Floats got = ten_steps(best(), pool, n, 0);
    CHECK_ALL_NEAR(slice(got, 0, n), w, 3e-7);
    CHECK_ALL_NEAR(slice(got, n, n), m, 1e-7);
    for (int64_t i = 0; i < n; ++i) CHECK(std::fabs(static_cast<double>(got[2 * n + i]) / v[i] - 1) < 1e-6);
  }
}

TEST(adamw_without_gradient_only_decays) {
  ThreadPool pool(1);
  Floats w = {2.0f, -1.0f}, g = {0, 0}, m = {0, 0}, v = {0, 0};
  best().adamw(pool, w.data(), g.data(), m.data(), v.data(), 2, args_of(1));
  const float decay = static_cast<float>(1 - 3e-4);
  CHECK_BITS(w, (Floats{2.0f * decay, -decay}));
}

TEST(adamw_leaves_zeros_where_the_gradient_was) {
  ThreadPool pool(2);
  Floats w = random_floats(33, 1), g = gradient(33, 1), m(33), v(33);
  best().adamw(pool, w.data(), g.data(), m.data(), v.data(), 32, args_of(1));
  CHECK_BITS(slice(g, 0, 32), Floats(32));
  CHECK(g[32] == gradient(33, 1)[32]);
}

TEST(adamw_has_the_same_bits_everywhere_and_however_it_is_cut) {
  const Floats whole = SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) { return ten_steps(k, pool, 50003, 0); });
  ThreadPool pool(2);
  CHECK_BITS(ten_steps(best(), pool, 50003, 17001), whole);
}

// Weights, then both moments, after ten steps with moments in bf16, in two pieces.
Floats ten_short_steps(const Kernels& k, ThreadPool& pool, int64_t n, int64_t cut) {
  Floats w = random_floats(n, 1);
  Bf16s m(w.size()), v(w.size());
  for (int step = 1; step <= 10; ++step) {
    Floats g = gradient(n, step);
    AdamwArgs args = args_of(step);
    args.step = step;
    k.adamw(pool, w.data(), g.data(), m.data(), v.data(), cut, args);
    args.first = cut;
    k.adamw(pool, w.data() + cut, g.data() + cut, m.data() + cut, v.data() + cut, n - cut, args);
  }
  append(w, widened(m));
  append(w, widened(v));
  return w;
}

TEST(adamw_rounds_bf16_moments_alike_everywhere_and_however_it_is_cut) {
  const Floats whole = SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) { return ten_short_steps(k, pool, 50003, 0); });
  ThreadPool pool(2);
  CHECK_BITS(ten_short_steps(best(), pool, 50003, 17001), whole);
  const Floats wide = ten_steps(best(), pool, 50003, 0);
  for (size_t i = 50003; i < whole.size(); ++i) CHECK(std::fabs(whole[i] - wide[i]) <= 0.03 * std::fabs(wide[i]) + 1e-3);
}

// Each moment is one of the two bf16 next to it, and their mean is the moment: a squared gradient that fades by a thousandth a
// step, a quarter of a unit, would stand still if it were rounded to nearest.
TEST(adamw_rounds_bf16_moments_without_bias) {
  constexpr int64_t kN = 20000;
  constexpr int kSteps = 200;
  ThreadPool pool(2);
  Floats w(kN), g(kN);
  Bf16s m(kN), v(kN, f32_to_bf16(1.0f));
  for (int step = 1; step <= kSteps; ++step) {
    AdamwArgs args = args_of(step);
    args.step = step;
    best().adamw(pool, w.data(), g.data(), m.data(), v.data(), kN, args);
    if (step == 1)
      for (const bf16 value : v) CHECK(value.bits == 0x3F80 || value.bits == 0x3F7F);  // of 0.999: 1 and 1 - 2^-8
  }
  double mean = 0;
  for (const float value : widened(v)) mean += static_cast<double>(value) / kN;
  CHECK_NEAR(mean, std::pow(0.999, kSteps), 1e-3);
}

}  // namespace
}  // namespace zazen::test
