// The clipped policy loss with the k3 estimator of the KL to a reference, and its gradient: a pure function of [T] arrays.
// Normalisers are in the weights, so a call over part of the tokens gives its part of the gradient.
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/ops.h"

namespace zazen::ZAZEN_ISA {
namespace {

inline F32x16 magnitude(F32x16 x) { return max(x, zero() - x); }

// k3 = e^d - d - 1. Near zero the difference would lose all its digits: there the series d^2/2! + ... + d^9/9! is used.
// Its derivative is e^d - 1 = k3 + d.
inline F32x16 k3(F32x16 d) {
  constexpr float kTerms[] = {1.0f / 40320, 1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 1.0f / 2};
  F32x16 series = set1(1.0f / 362880);
  for (const float term : kTerms) series = fma(series, d, set1(term));
  return select_less(magnitude(d), set1(0.5f), series * d * d, exp(d) - d - set1(1.0f));
}

struct Surrogate {
  F32x16 value, slope, clipped;  // slope = d value / d ratio; clipped is 1 where a bound decides the value
};

// min(ratio A, clip(ratio) A), then for A < 0 max(., dual_clip A). Derivatives are those of automatic differentiation: a tie of
// min shares the gradient, clip passes it inside its closed interval.
inline Surrogate surrogate(F32x16 ratio, F32x16 advantage, const PolicyLossArgs& args) {
  const F32x16 one = set1(1.0f), low = set1(1.0f - args.clip_low), high = set1(1.0f + args.clip_high);
  const F32x16 plain = ratio * advantage, bounded = min(max(ratio, low), high) * advantage;
  const F32x16 share = select_less(plain, bounded, one, select_less(bounded, plain, zero(), set1(0.5f)));
  const F32x16 inside = select_less(ratio, low, zero(), select_less(high, ratio, zero(), one));
  Surrogate s{min(plain, bounded), advantage * (share + (one - share) * inside), select_less(bounded, plain, one, zero())};
  if (args.dual_clip <= 0.0f) return s;
  const F32x16 floor = select_less(advantage, zero(), set1(args.dual_clip) * advantage, set1(-__builtin_inff()));
  s.slope = select_less(s.value, floor, zero(), s.slope);
  s.clipped = select_less(s.value, floor, one, s.clipped);
  s.value = max(s.value, floor);
  return s;
}

// Adds 16 values one after another.
inline double add_in_order(double total, F32x16 values) {
  alignas(64) float lane[kLanes];
  store(lane, values);
  for (int64_t i = 0; i < kLanes; ++i) total += static_cast<double>(lane[i]);
  return total;
}

}  // namespace

// Tokens of weight 0 may hold anything: they are set to 0 wherever they would be added.
void policy_loss(PolicyLossSums& sums, float* dlogp, float* dentropy, const float* logp, const float* old, const float* ref,
                 const float* entropy, const float* advantages, const float* weights, const PolicyLossArgs& args, int64_t T) {
  const F32x16 kl_coef = set1(args.kl_coef), entropy_coef = set1(args.entropy_coef);
  F32x16 tokens = zero(), clipped = zero(), max_drift = zero();
  for_lanes(T, [&](int64_t t, auto lanes) {
    const F32x16 w = lanes.load(weights + t), size = magnitude(w);
    const F32x16 now = lanes.load(logp + t), drift = now - lanes.load(old + t);
    const auto used = [&](F32x16 value) { return select_less(zero(), size, value, zero()); };
    const F32x16 ratio = exp(drift);
    const Surrogate s = surrogate(ratio, lanes.load(advantages + t), args);
    const F32x16 d = ref ? lanes.load(ref + t) - now : zero();
    const F32x16 divergence = ref ? k3(d) : zero(), h = entropy ? lanes.load(entropy + t) : zero();
    // d loss / d logp = -slope ratio - kl_coef (e^d - 1)
    lanes.store(dlogp + t, used(w * (zero() - s.slope * ratio - kl_coef * (divergence + d))));
    if (dentropy) lanes.store(dentropy + t, zero() - w * entropy_coef);

    sums.loss = add_in_order(sums.loss, used(w * (kl_coef * divergence - s.value - entropy_coef * h)));
    sums.kl = add_in_order(sums.kl, used(divergence));
    sums.ratio = add_in_order(sums.ratio, used(ratio));
    sums.entropy = add_in_order(sums.entropy, used(h));
    tokens = tokens + used(set1(1.0f));
    clipped = clipped + used(s.clipped);
    max_drift = max(max_drift, used(magnitude(drift)));
  });
  sums.clipped += static_cast<double>(sum(clipped));
  const double drift = static_cast<double>(max(max_drift));
  sums.max_abs_drift = sums.max_abs_drift > drift ? sums.max_abs_drift : drift;
  sums.tokens += static_cast<int64_t>(sum(tokens));
}

}  // namespace zazen::ZAZEN_ISA
