// The policy loss against its formula in double, and its gradient against central differences of that formula.
#include <algorithm>

#include "support.h"

namespace zazen::test {
namespace {

struct Batch {
  int64_t T;
  Floats logp, old, ref, entropy, advantages, weights, sampler, importance;
  Ints cu;  // sequences of 0 to 23 tokens
  explicit Batch(int64_t tokens)
      : T(tokens),
        logp(random_floats(T, 1, -3, 0)),
        old(random_floats(T, 2, -3, 0)),
        ref(random_floats(T, 3, -3, 0)),
        entropy(random_floats(T, 4, 0, 2)),
        advantages(random_floats(T, 5)),
        weights(random_floats(T, 6, 0, 0.1f)),
        sampler(random_floats(T, 7, -3, 0)),
        importance(random_floats(T, 8, 0, 2)),
        cu{0} {
    for (int64_t t = 0; t < T; t += 3) weights[t] = 0;
    for (int64_t t = 5; t < T; t += 7) importance[t] = 0;
    for (const int32_t length : random_ints(T, 9, 24))
      if (cu.back() < T) cu.push_back(static_cast<int32_t>(std::min<int64_t>(T, cu.back() + length)));
    if (cu.back() < T) cu.push_back(static_cast<int32_t>(T));
  }
  PolicyLossInputs inputs(bool all) const {
    PolicyLossInputs in{logp.data(), old.data(), advantages.data(), weights.data()};
    in.ref = ref.data();
    in.entropy = entropy.data();
    if (all) in.sampler = sampler.data();
    if (all) in.importance = importance.data();
    in.cu_tokens = cu.data();
    in.sequences = static_cast<int64_t>(cu.size()) - 1;
    return in;
  }
};

// exp(logp - behaviour) of every token, or of its sequence's mean over tokens with weight.
Doubles ratios(const Batch& b, const Doubles& logp, const Floats& behaviour, RatioLevel level) {
  Doubles ratio(logp.size());
  for (size_t t = 0; t < ratio.size(); ++t) ratio[t] = std::exp(logp[t] - static_cast<double>(behaviour[t]));
  if (level == RatioLevel::token) return ratio;
  for (size_t s = 0; s + 1 < b.cu.size(); ++s) {
    double total = 0, n = 0;
    for (int32_t t = b.cu[s]; t < b.cu[s + 1]; ++t)
      if (b.weights[t] != 0) total += logp[t] - static_cast<double>(behaviour[t]), ++n;
    for (int32_t t = b.cu[s]; t < b.cu[s + 1]; ++t) ratio[t] = n > 0 ? std::exp(total / n) : 1.0;
  }
  return ratio;
}

double surrogate(double ratio, double frozen_ratio, double a, double logp, const PolicyLossArgs& args) {
  const double low = 1 - static_cast<double>(args.clip_low), high = 1 + static_cast<double>(args.clip_high);
  if (args.objective == Objective::cispo) return std::clamp(frozen_ratio, low, high) * a * logp;
  const double value = std::min(ratio * a, std::clamp(ratio, low, high) * a);
  return args.dual_clip > 0 && a < 0 ? std::max(value, static_cast<double>(args.dual_clip) * a) : value;
}

double divergence(double d, const PolicyLossArgs& args) {
  const double far = static_cast<double>(args.kl_max_log_ratio), most = static_cast<double>(args.kl_max);
  if (far > 0) d = std::clamp(d, -far, far);
  const double value = args.kl == KlEstimator::k1 ? -d : args.kl == KlEstimator::k2 ? d * d / 2 : std::expm1(d) - d;
  return most > 0 ? std::clamp(value, -most, most) : value;
}

// At log-probs `logp`; what the objective takes for constant is that of the batch's own.
double loss_of(const Batch& b, const Doubles& logp, const Doubles& entropy, const PolicyLossArgs& args, bool all = false) {
  const Floats& behaviour = all ? b.sampler : b.old;
  const Doubles ratio = ratios(b, logp, behaviour, args.ratio), frozen = ratios(b, doubles(b.logp), behaviour, args.ratio);
  double total = 0;
  for (int64_t t = 0; t < b.T; ++t) {
    const double factor = all ? static_cast<double>(b.importance[t]) : 1.0;
    total += b.weights[t] * (-factor * surrogate(ratio[t], frozen[t], b.advantages[t], logp[t], args) +
                             static_cast<double>(args.kl_coef) * divergence(b.ref[t] - logp[t], args) -
                             static_cast<double>(args.entropy_coef) * entropy[t]);
  }
  return total;
}

struct Result {
  Floats dlogp, dentropy;
  PolicyLossSums sums;
};
Result run(const Kernels& k, const Batch& b, const PolicyLossArgs& args, bool all = false) {
  Result r{Floats(b.T), Floats(b.T), {}};
  k.policy_loss(r.sums, r.dlogp.data(), r.dentropy.data(), b.inputs(all), args, b.T);
  return r;
}

using enum RatioLevel;
using enum Objective;
using enum KlEstimator;
const PolicyLossArgs kVariants[] = {{0.2f, 0.2f, 0, 0, 0},
                                    {0.2f, 0.28f, 0, 0.04f, 0.01f},
                                    {0.2f, 0.2f, 3.0f, 0, 0},
                                    {0.1f, 0.3f, 1.5f, 0.5f, 0.02f},
                                    {0.2f, 0.2f, 0, 0.3f, 0, token, clip, k1},
                                    {0.2f, 0.2f, 0, 0.3f, 0, token, clip, k2},
                                    {1.0f, 2.0f, 0, 0.1f, 0.01f, token, cispo, k3},
                                    {0.05f, 0.3f, 0, 0, 0, sequence, clip, k3},
                                    {0.1f, 0.3f, 1.5f, 0.2f, 0.01f, sequence, clip, k2},
                                    {0.2f, 0.3f, 0, 0.2f, 0, sequence, cispo, k1},
                                    {0.2f, 0.2f, 0, 0.3f, 0, token, clip, k3, 1.2f, 0},
                                    {0.2f, 0.2f, 0, 0.3f, 0, token, clip, k1, 0, 0.7f},
                                    {0.2f, 0.2f, 3.0f, 0.3f, 0, token, clip, k2, 1.5f, 0.8f},
                                    {0.2f, 0.2f, 0, 0.3f, 0, sequence, clip, k3, 2.0f, 0.5f}};

TEST(policy_loss_and_gradient_match_the_formula) {
  for (const int64_t T : {1, 5, 16, 77})
    for (const PolicyLossArgs& args : kVariants)
      for (const bool all : {false, true}) {
        const Batch b(T);
        const Result r = run(best(), b, args, all);
        const Doubles logp = doubles(b.logp), entropy = doubles(b.entropy);
        CHECK_NEAR(r.sums.loss, loss_of(b, logp, entropy, args, all), 1e-6);
        const auto at_logp = [&](const Doubles& x) { return loss_of(b, x, entropy, args, all); };
        const auto at_entropy = [&](const Doubles& x) { return loss_of(b, logp, x, args, all); };
        CHECK_ALL_NEAR(r.dlogp, numeric_gradient(logp, at_logp), 1e-6);
        CHECK_ALL_NEAR(r.dentropy, numeric_gradient(entropy, at_entropy), 1e-6);
      }
}

TEST(policy_loss_counts_tokens_with_weight) {
  const Batch b(77);
  const PolicyLossArgs args{0.2f, 0.2f, 0, 0.1f, 0};
  const PolicyLossSums sums = run(best(), b, args).sums;
  PolicyLossSums want{};
  for (int64_t t = 0; t < b.T; ++t) {
    if (b.weights[t] == 0) continue;
    const double ratio = std::exp(static_cast<double>(b.logp[t]) - static_cast<double>(b.old[t]));
    const double d = static_cast<double>(b.ref[t]) - static_cast<double>(b.logp[t]), a = b.advantages[t];
    want.kl += std::expm1(d) - d;
    want.ratio += ratio;
    want.clipped_high += a > 0 && ratio > 1.2;
    want.clipped_low += a < 0 && ratio < 0.8;
    want.entropy += static_cast<double>(b.entropy[t]);
    want.max_abs_drift =
        std::max(want.max_abs_drift, std::fabs(static_cast<double>(b.logp[t]) - static_cast<double>(b.old[t])));
    ++want.tokens;
  }
  CHECK(sums.tokens == want.tokens);
  CHECK(sums.clipped_low == want.clipped_low && sums.clipped_high == want.clipped_high);
  CHECK(sums.clipped == want.clipped_low + want.clipped_high);
  CHECK_NEAR(sums.kl, want.kl, 1e-6);
  CHECK_NEAR(sums.ratio, want.ratio, 1e-6);
  CHECK_NEAR(sums.entropy, want.entropy, 1e-6);
  CHECK_NEAR(sums.max_abs_drift, want.max_abs_drift, 1e-6);
}

TEST(policy_loss_ignores_what_tokens_without_weight_hold) {
  for (const PolicyLossArgs& args : kVariants) {
    Batch b(40);
    const Result clean = run(best(), b, args, true);
    for (int64_t t = 0; t < b.T; t += 3)
      for (Floats* array : {&b.logp, &b.old, &b.ref, &b.entropy, &b.advantages, &b.sampler, &b.importance}) (*array)[t] = kNan;
    const Result dirty = run(best(), b, args, true);
    CHECK_BITS(dirty.dlogp, clean.dlogp);
    CHECK(std::memcmp(&dirty.sums, &clean.sums, sizeof clean.sums) == 0);
    for (int64_t t = 0; t < b.T; t += 3) CHECK(dirty.dlogp[t] == 0.0f && dirty.dentropy[t] == 0.0f);
  }
}

// On policy, ratio is 1 exactly: inside the clip, full gradient, no drift.
TEST(policy_loss_on_policy_has_the_plain_gradient) {
  Batch b(33);
  b.old = b.logp;
  const Result r = run(best(), b, {0.2f, 0.2f, 0, 0, 0});
  CHECK(r.sums.max_abs_drift == 0.0);
  CHECK(r.sums.ratio == static_cast<double>(r.sums.tokens));
  CHECK(r.sums.clipped == 0.0);
  for (int64_t t = 0; t < b.T; ++t) CHECK(r.dlogp[t] == b.weights[t] * -b.advantages[t]);
}

// A clip of zero width on policy: both arguments of min agree and the closed interval holds the ratio, so the gradient passes.
TEST(policy_loss_passes_gradient_on_the_edge_of_the_clip) {
  Batch b(3);
  b.old = b.logp;
  b.weights = {1, 1, 1};
  const Result r = run(best(), b, {0, 0, 0, 0, 0});
  for (int64_t t = 0; t < 3; ++t) CHECK(r.dlogp[t] == -b.advantages[t]);
}

TEST(policy_loss_stops_where_a_bound_binds) {
  Batch b(4);
  b.old = Floats(4, -2.0f);
  b.logp = {-1.0f, -3.0f, -1.0f, 0.0f};  // ratios 2.7, 0.37, 2.7, 7.4
  b.advantages = {1, -1, -1, -1};
  b.weights = Floats(4, 1.0f);
  const Result r = run(best(), b, {0.2f, 0.2f, 3.0f, 0, 0});
  CHECK(r.dlogp[0] == 0.0f && r.dlogp[1] == 0.0f && r.dlogp[3] == 0.0f);
  CHECK_NEAR(r.dlogp[2], std::exp(1.0), 1e-6);
  CHECK(r.sums.clipped == 3.0 && r.sums.clipped_high == 1.0 && r.sums.clipped_low == 1.0);
  CHECK_NEAR(r.sums.loss, -1.2 + 0.8 + std::exp(1.0) + 3.0, 1e-6);
}

TEST(policy_loss_keeps_the_digits_of_a_small_kl) {
  for (const float d : {1e-4f, -1e-3f, 0.03f, -0.3f, 0.4999f, 0.5001f, -2.0f, 3.0f}) {
    Batch b(1);
    b.logp = {-1.0f};
    b.ref = {-1.0f + d};
    b.old = {-1.0f};
    b.weights = {1};
    b.advantages = {0};
    const Result r = run(best(), b, {0.2f, 0.2f, 0, 1.0f, 0});
    const double exact = static_cast<double>(b.ref[0]) - static_cast<double>(b.logp[0]);
    CHECK(std::fabs(r.sums.kl / (std::expm1(exact) - exact) - 1) < 3e-6);
    CHECK(std::fabs(static_cast<double>(r.dlogp[0]) / -std::expm1(exact) - 1) < 2e-6);
  }
}

// The two bounds of the k3 estimate of verl: beyond either a token has no pull, on it the whole.
TEST(policy_loss_bounds_the_kl) {
  for (const auto& [d, value, slope] : {std::tuple{2.0f, std::exp(2.0) - 3.0, std::exp(2.0) - 1.0},
                                        {3.0f, 10.0, 0.0},
                                        {-5.0f, std::exp(-5.0) + 4.0, std::exp(-5.0) - 1.0},
                                        {-30.0f, 10.0, 0.0}}) {
    Batch b(1);
    b.logp = b.old = {-40.0f};
    b.ref = {-40.0f + d};
    b.weights = {1};
    b.advantages = {0};
    const Result r = run(best(), b, {0.2f, 0.2f, 0, 1.0f, 0, token, clip, k3, 20.0f, 10.0f});
    CHECK_NEAR(r.sums.kl, value, 1e-5);
    CHECK_NEAR(r.dlogp[0], -slope, 1e-5);
  }
}

TEST(policy_loss_takes_absent_inputs) {
  const Batch b(21);
  const PolicyLossArgs args{0.2f, 0.2f, 0, 0, 0};
  Floats dlogp(b.T);
  PolicyLossSums sums;
  const PolicyLossInputs in{b.logp.data(), b.old.data(), b.advantages.data(), b.weights.data()};
  best().policy_loss(sums, dlogp.data(), nullptr, in, args, b.T);
  const Result full = run(best(), b, args);
  CHECK_BITS(dlogp, full.dlogp);
  CHECK(sums.loss == full.sums.loss && sums.kl == 0.0 && sums.entropy == 0.0);
}

// Sequences [first, last) of a batch.
Batch part(const Batch& b, size_t first, size_t last) {
  const int64_t begin = b.cu[first], end = b.cu[last];
  Batch p(end - begin);
  const auto cut = [&](Floats& to, const Floats& from) { to = slice(from, begin, end - begin); };
  cut(p.logp, b.logp), cut(p.old, b.old), cut(p.ref, b.ref), cut(p.entropy, b.entropy), cut(p.sampler, b.sampler);
  cut(p.advantages, b.advantages), cut(p.weights, b.weights), cut(p.importance, b.importance);
  p.cu.clear();
  for (size_t s = first; s <= last; ++s) p.cu.push_back(b.cu[s] - static_cast<int32_t>(begin));
  return p;
}

TEST(policy_loss_sums_in_two_calls_have_the_bits_of_one) {
  const Batch b(203);
  for (const PolicyLossArgs& args : kVariants) {
    const Result whole = run(best(), b, args, true);
    PolicyLossSums sums;
    Floats gradient;
    const size_t last = b.cu.size() - 1;
    for (const auto& [from, to] : {std::pair<size_t, size_t>{0, 1}, {1, last / 2}, {last / 2, last}}) {
      const Batch p = part(b, from, to);
      Floats dlogp(p.T), dentropy(p.T);
      best().policy_loss(sums, dlogp.data(), dentropy.data(), p.inputs(true), args, p.T);
      append(gradient, dlogp);
    }
    CHECK(std::memcmp(&sums, &whole.sums, sizeof sums) == 0);
    CHECK_BITS(gradient, whole.dlogp);
  }
}

// Whole sequences at one ratio: the gradient of a token does not depend on where in its sequence it is.
TEST(policy_loss_of_sequences_shares_the_gradient) {
  Batch b(10);
  b.cu = {0, 4, 10};
  b.weights = Floats(10, 0.1f);
  b.advantages = Floats(10, 1.0f);
  b.logp = b.old;
  const Result r = run(best(), b, {0.2f, 0.2f, 0, 0, 0, sequence, clip, k3});
  for (int64_t t = 0; t < 10; ++t) CHECK_NEAR(r.dlogp[t], -0.1, 1e-7);
  b.logp[1] += 4.0f;  // the ratio of the first sequence is e: its tokens have no gradient
  const Result moved = run(best(), b, {0.2f, 0.2f, 0, 0, 0, sequence, clip, k3});
  for (int64_t t = 0; t < 4; ++t) CHECK(moved.dlogp[t] == 0.0f);
  for (int64_t t = 4; t < 10; ++t) CHECK_NEAR(moved.dlogp[t], -0.1, 1e-7);
  CHECK(moved.sums.clipped_high == 4.0);
}

TEST(policy_loss_has_the_same_bits_everywhere) {
  const Batch b(1003);
  for (const PolicyLossArgs& args : kVariants)
    SAME_EVERYWHERE([&](const Kernels& k, ThreadPool&) {
      const Result r = run(k, b, args, true);
      Floats all = r.dlogp;
      append(all, r.dentropy);
      for (const double s : {r.sums.loss, r.sums.kl, r.sums.ratio, r.sums.clipped, r.sums.clipped_low, r.sums.clipped_high,
                             r.sums.entropy, r.sums.max_abs_drift}) {
        float halves[2];
        std::memcpy(halves, &s, sizeof s);
        append(all, {halves[0], halves[1]});
      }
      return all;
    });
}

}  // namespace
}  // namespace zazen::test
