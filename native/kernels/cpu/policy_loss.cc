// The policy loss and its gradient, a pure function of [T] arrays: clipped or CISPO, with the ratio of tokens or of sequences,
// a KL to a reference and an entropy bonus. Normalisers are in the weights, so a call over some sequences gives their part of
// the gradient.
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/ops.h"

namespace zazen::ZAZEN_ISA {
namespace {

// `value` for tokens with a weight, else 0: the others may hold anything.
inline F32x16 used(F32x16 weight, F32x16 value) { return select_less(zero(), magnitude(weight), value, zero()); }

// k3 = e^d - d - 1. Near zero the difference would lose all its digits: there the series d^2/2! + ... + d^9/9! is used.
inline F32x16 k3(F32x16 d) {
  constexpr float kTerms[] = {1.0f / 40320, 1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 1.0f / 2};
  F32x16 series = set1(1.0f / 362880);
  for (const float term : kTerms) series = fma(series, d, set1(term));
  return select_less(magnitude(d), set1(0.5f), series * d * d, exp(d) - d - set1(1.0f));
}

struct Divergence {
  F32x16 value, slope;  // slope = -d value / d logp
};

inline Divergence estimate(F32x16 d, KlEstimator estimator) {
  if (estimator == KlEstimator::k1) return {zero() - d, set1(-1.0f)};
  if (estimator == KlEstimator::k2) return {set1(0.5f) * d * d, d};
  const F32x16 value = k3(d);
  return {value, value + d};  // e^d - 1
}

// Derivatives at a bound are those of automatic differentiation: a clamp passes them inside its closed interval.
inline Divergence divergence(F32x16 d, const PolicyLossArgs& args) {
  const F32x16 far = set1(args.kl_max_log_ratio), most = set1(args.kl_max);
  const bool cut = args.kl_max_log_ratio > 0.0f;
  Divergence kl = estimate(cut ? min(max(d, zero() - far), far) : d, args.kl);
  if (cut) kl.slope = select_less(far, magnitude(d), zero(), kl.slope);
  if (args.kl_max > 0.0f) {
    kl.slope = select_less(most, magnitude(kl.value), zero(), kl.slope);
    kl.value = min(max(kl.value, zero() - most), most);
  }
  return kl;
}

// What is maximised for a token. Counts are 1 where a bound decides the value.
struct Surrogate {
  F32x16 value, slope;  // slope = d value / d log-ratio; of CISPO d value / d logp
  F32x16 low, high, dual;
};

// min(ratio A, clip(ratio) A), then for A < 0 max(., dual_clip A). Derivatives are those of automatic differentiation: a tie of
// min shares the gradient, clip passes it inside its closed interval.
inline Surrogate clip_surrogate(F32x16 ratio, F32x16 advantage, const PolicyLossArgs& args) {
  const F32x16 one = set1(1.0f), low = set1(1.0f - args.clip_low), high = set1(1.0f + args.clip_high);
  const F32x16 plain = ratio * advantage, bounded = min(max(ratio, low), high) * advantage;
  const F32x16 share = select_less(plain, bounded, one, select_less(bounded, plain, zero(), set1(0.5f)));
  const F32x16 inside = select_less(ratio, low, zero(), select_less(high, ratio, zero(), one));
  const F32x16 clipped = select_less(bounded, plain, one, zero());
  const F32x16 below = select_less(ratio, low, clipped, zero());
  Surrogate s{min(plain, bounded), advantage * (share + (one - share) * inside), below, clipped - below, zero()};
  if (args.dual_clip > 0.0f) {
    const F32x16 floor = select_less(advantage, zero(), set1(args.dual_clip) * advantage, set1(-__builtin_inff()));
    s.slope = select_less(s.value, floor, zero(), s.slope);
    s.dual = select_less(s.value, floor, one, zero());
    s.value = max(s.value, floor);
  }
  s.slope = s.slope * ratio;
  return s;
}

// clip(ratio) A logp, the clipped ratio a constant.
inline Surrogate cispo_surrogate(F32x16 ratio, F32x16 advantage, F32x16 logp, const PolicyLossArgs& args) {
  const F32x16 one = set1(1.0f), low = set1(1.0f - args.clip_low), high = set1(1.0f + args.clip_high);
  const F32x16 slope = min(max(ratio, low), high) * advantage;
  return {slope * logp, slope, select_less(ratio, low, one, zero()), select_less(high, ratio, one, zero()), zero()};
}

// Adds 16 values one after another.
inline double add_in_order(double total, F32x16 values) {
  alignas(64) float lane[kLanes];
  store(lane, values);
  for (int64_t i = 0; i < kLanes; ++i) total += static_cast<double>(lane[i]);
  return total;
}

// The same for four sums side by side.
struct FourSums {
  double __attribute__((vector_size(32))) total;
  void add_in_order(F32x16 a, F32x16 b, F32x16 c, F32x16 d) {
    using Four = float __attribute__((vector_size(16)));
    alignas(64) float lane[4][kLanes];
    store(lane[0], a), store(lane[1], b), store(lane[2], c), store(lane[3], d);
    for (int64_t i = 0; i < kLanes; i += 4) {
      Four w, x, y, z;
      std::memcpy(&w, lane[0] + i, sizeof w), std::memcpy(&x, lane[1] + i, sizeof x);
      std::memcpy(&y, lane[2] + i, sizeof y), std::memcpy(&z, lane[3] + i, sizeof z);
      const Four wx = __builtin_shufflevector(w, x, 0, 4, 1, 5), WX = __builtin_shufflevector(w, x, 2, 6, 3, 7);
      const Four yz = __builtin_shufflevector(y, z, 0, 4, 1, 5), YZ = __builtin_shufflevector(y, z, 2, 6, 3, 7);
      const Four token[] = {__builtin_shufflevector(wx, yz, 0, 1, 4, 5), __builtin_shufflevector(wx, yz, 2, 3, 6, 7),
                            __builtin_shufflevector(WX, YZ, 0, 1, 4, 5), __builtin_shufflevector(WX, YZ, 2, 3, 6, 7)};
      for (const Four& t : token) total += __builtin_convertvector(t, decltype(total));
    }
  }
};

// One sequence's exp(mean(logp - old)) over its tokens with weight, and what each of these tokens has of the gradient of the
// sequence's surrogate: d / d logp_t = (sum_u weight_u importance_u slope_u) / n.
struct SequenceTerms {
  F32x16 ratio, pull;
};

SequenceTerms sequence_terms(const PolicyLossInputs& in, const PolicyLossArgs& args, const float* behaviour, int64_t begin,
                             int64_t end) {
  double log_ratio = 0;
  int64_t n = 0;
  for (int64_t t = begin; t < end; ++t) {
    if (in.weights[t] == 0.0f) continue;
    log_ratio += static_cast<double>(in.logp[t]) - static_cast<double>(behaviour[t]);
    ++n;
  }
  if (n == 0) return {set1(1.0f), zero()};
  const F32x16 ratio = exp(set1(static_cast<float>(log_ratio / static_cast<double>(n))));
  if (args.objective == Objective::cispo) return {ratio, zero()};  // its ratio is a constant
  double slope = 0;
  for_lanes(end - begin, [&](int64_t i, auto lanes) {
    const int64_t t = begin + i;
    const F32x16 w = lanes.load(in.weights + t), s = clip_surrogate(ratio, lanes.load(in.advantages + t), args).slope;
    slope = add_in_order(slope, used(w, in.importance ? w * (s * lanes.load(in.importance + t)) : w * s));
  });
  return {ratio, set1(static_cast<float>(slope / static_cast<double>(n)))};
}

struct Counts {
  F32x16 tokens = zero(), low = zero(), high = zero(), dual = zero(), max_drift = zero();
};

// Tokens [begin, end); `sequence` is null when each has a ratio of its own.
void add_tokens(PolicyLossSums& sums, Counts& counts, float* dlogp, float* dentropy, const PolicyLossInputs& in,
                const PolicyLossArgs& args, int64_t begin, int64_t end, const float* behaviour, const SequenceTerms* sequence) {
  const F32x16 kl_coef = set1(args.kl_coef), entropy_coef = set1(args.entropy_coef);
  const bool clip = args.objective == Objective::clip;
  FourSums total{{sums.loss, sums.kl, sums.ratio, sums.entropy}};
  Counts count = counts;
  for_lanes(end - begin, [&](int64_t i, auto lanes) {
    const int64_t t = begin + i;
    const F32x16 w = lanes.load(in.weights + t), now = lanes.load(in.logp + t), advantage = lanes.load(in.advantages + t);
    const F32x16 drift = now - lanes.load(in.old + t);
    const F32x16 ratio = sequence ? sequence->ratio : exp(in.sampler ? now - lanes.load(behaviour + t) : drift);
    Surrogate s = clip ? clip_surrogate(ratio, advantage, args) : cispo_surrogate(ratio, advantage, now, args);
    if (in.importance) {
      s.value = s.value * lanes.load(in.importance + t);
      s.slope = s.slope * lanes.load(in.importance + t);
    }
    const Divergence kl = in.ref ? divergence(lanes.load(in.ref + t) - now, args) : Divergence{zero(), zero()};
    const F32x16 h = in.entropy ? lanes.load(in.entropy + t) : zero();
    const bool shared = sequence && clip;  // then the slope is in the sequence's pull
    const F32x16 gradient = zero() - (shared ? zero() : s.slope) - kl_coef * kl.slope;
    lanes.store(dlogp + t, used(w, shared ? w * gradient - sequence->pull : w * gradient));
    if (dentropy) lanes.store(dentropy + t, zero() - w * entropy_coef);

    const F32x16 loss = w * (kl_coef * kl.value - s.value - entropy_coef * h);
    total.add_in_order(used(w, loss), used(w, kl.value), used(w, ratio), used(w, h));
    count.tokens = count.tokens + used(w, set1(1.0f));
    count.low = count.low + used(w, s.low);
    count.high = count.high + used(w, s.high);
    if (args.dual_clip > 0.0f) count.dual = count.dual + used(w, s.dual);
    count.max_drift = max(count.max_drift, used(w, magnitude(drift)));
  });
  sums.loss = total.total[0];
  sums.kl = total.total[1];
  sums.ratio = total.total[2];
  sums.entropy = total.total[3];
  counts = count;
}

}  // namespace

void policy_loss(PolicyLossSums& sums, float* dlogp, float* dentropy, const PolicyLossInputs& in, const PolicyLossArgs& args,
                 int64_t T) {
  const float* behaviour = in.sampler ? in.sampler : in.old;
  Counts counts;
  if (args.ratio == RatioLevel::token) add_tokens(sums, counts, dlogp, dentropy, in, args, 0, T, behaviour, nullptr);
  for (int64_t s = 0; args.ratio == RatioLevel::sequence && s < in.sequences; ++s) {
    const int64_t begin = in.cu_tokens[s], end = in.cu_tokens[s + 1];
    const SequenceTerms sequence = sequence_terms(in, args, behaviour, begin, end);
    add_tokens(sums, counts, dlogp, dentropy, in, args, begin, end, behaviour, &sequence);
  }
  const double low = static_cast<double>(sum(counts.low)), high = static_cast<double>(sum(counts.high));
  sums.clipped_low += low;
  sums.clipped_high += high;
  sums.clipped += low + high + static_cast<double>(sum(counts.dual));
  const double drift = static_cast<double>(max(counts.max_drift));
  sums.max_abs_drift = sums.max_abs_drift > drift ? sums.max_abs_drift : drift;
  sums.tokens += static_cast<int64_t>(sum(counts.tokens));
}

}  // namespace zazen::ZAZEN_ISA
