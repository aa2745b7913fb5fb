// The policy loss against its formula in double, and its gradient against central differences of that formula.
#include <algorithm>

#include "support.h"

namespace zazen::test {
namespace {

struct Batch {
  int64_t T;
  Floats logp, old, ref, entropy, advantages, weights;
  explicit Batch(int64_t tokens)
      : T(tokens),
        logp(random_floats(T, 1, -3, 0)),
        old(random_floats(T, 2, -3, 0)),
        ref(random_floats(T, 3, -3, 0)),
        entropy(random_floats(T, 4, 0, 2)),
        advantages(random_floats(T, 5)),
        weights(random_floats(T, 6, 0, 0.1f)) {
    for (int64_t t = 0; t < T; t += 3) weights[t] = 0;
  }
};

double token_loss(double logp, double old, double ref, double entropy, double a, const PolicyLossArgs& args) {
  const double ratio = std::exp(logp - old), d = ref - logp;
  const double low = 1 - static_cast<double>(args.clip_low), high = 1 + static_cast<double>(args.clip_high);
  double surrogate = std::min(ratio * a, std::clamp(ratio, low, high) * a);
  if (args.dual_clip > 0 && a < 0) surrogate = std::max(surrogate, static_cast<double>(args.dual_clip) * a);
  return -surrogate + static_cast<double>(args.kl_coef) * (std::expm1(d) - d) -
         static_cast<double>(args.entropy_coef) * entropy;
}

double loss_of(const Batch& b, const Doubles& logp, const Doubles& entropy, const PolicyLossArgs& args) {
  double total = 0;
  for (int64_t t = 0; t < b.T; ++t)
    total += b.weights[t] * token_loss(logp[t], b.old[t], b.ref[t], entropy[t], b.advantages[t], args);
  return total;
}

struct Result {
  Floats dlogp, dentropy;
  PolicyLossSums sums;
};
Result run(const Kernels& k, const Batch& b, const PolicyLossArgs& args) {
  Result r{Floats(b.T), Floats(b.T), {}};
  k.policy_loss(r.sums, r.dlogp.data(), r.dentropy.data(), b.logp.data(), b.old.data(), b.ref.data(), b.entropy.data(),
                b.advantages.data(), b.weights.data(), args, b.T);
  return r;
}

const PolicyLossArgs kVariants[] = {
    {0.2f, 0.2f, 0, 0, 0}, {0.2f, 0.28f, 0, 0.04f, 0.01f}, {0.2f, 0.2f, 3.0f, 0, 0}, {0.1f, 0.3f, 1.5f, 0.5f, 0.02f}};

TEST(policy_loss_and_gradient_match_the_formula) {
  for (const int64_t T : {1, 5, 16, 77})
    for (const PolicyLossArgs& args : kVariants) {
      const Batch b(T);
      const Result r = run(best(), b, args);
      const Doubles logp = doubles(b.logp), entropy = doubles(b.entropy);
      CHECK_NEAR(r.sums.loss, loss_of(b, logp, entropy, args), 1e-6);
      CHECK_ALL_NEAR(r.dlogp, numeric_gradient(logp, [&](const Doubles& x) { return loss_of(b, x, entropy, args); }), 1e-6);
      CHECK_ALL_NEAR(r.dentropy, numeric_gradient(entropy, [&](const Doubles& x) { return loss_of(b, logp, x, args); }), 1e-6);
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
    want.clipped += (a > 0 && ratio > 1.2) || (a < 0 && ratio < 0.8);
    want.entropy += static_cast<double>(b.entropy[t]);
    want.max_abs_drift =
        std::max(want.max_abs_drift, std::fabs(static_cast<double>(b.logp[t]) - static_cast<double>(b.old[t])));
    ++want.tokens;
  }
  CHECK(sums.tokens == want.tokens);
  CHECK(sums.clipped == want.clipped);
  CHECK_NEAR(sums.kl, want.kl, 1e-6);
  CHECK_NEAR(sums.ratio, want.ratio, 1e-6);
  CHECK_NEAR(sums.entropy, want.entropy, 1e-6);
  CHECK_NEAR(sums.max_abs_drift, want.max_abs_drift, 1e-6);
}

TEST(policy_loss_ignores_what_tokens_without_weight_hold) {
  Batch b(40);
  const PolicyLossArgs args{0.2f, 0.2f, 2.0f, 0.1f, 0.01f};
  const Result clean = run(best(), b, args);
  for (int64_t t = 0; t < b.T; t += 3) b.logp[t] = b.old[t] = b.ref[t] = b.entropy[t] = b.advantages[t] = kNan;
  const Result dirty = run(best(), b, args);
  CHECK_BITS(dirty.dlogp, clean.dlogp);
  CHECK(std::memcmp(&dirty.sums, &clean.sums, sizeof clean.sums) == 0);
  for (int64_t t = 0; t < b.T; t += 3) CHECK(dirty.dlogp[t] == 0.0f && dirty.dentropy[t] == 0.0f);
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
  CHECK(r.sums.clipped == 3.0);
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

TEST(policy_loss_takes_absent_inputs) {
  const Batch b(21);
  const PolicyLossArgs args{0.2f, 0.2f, 0, 0, 0};
  Floats dlogp(b.T);
  PolicyLossSums sums;
  best().policy_loss(sums, dlogp.data(), nullptr, b.logp.data(), b.old.data(), nullptr, nullptr, b.advantages.data(),
                     b.weights.data(), args, b.T);
  const Result full = run(best(), b, args);
  CHECK_BITS(dlogp, full.dlogp);
  CHECK(sums.loss == full.sums.loss && sums.kl == 0.0 && sums.entropy == 0.0);
}

TEST(policy_loss_sums_in_two_calls_have_the_bits_of_one) {
  const Batch b(203);
  for (const PolicyLossArgs& args : kVariants) {
    const PolicyLossSums whole = run(best(), b, args).sums;
    PolicyLossSums parts;
    Floats dlogp(b.T), dentropy(b.T);
    for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 101}, {101, 102}})
      best().policy_loss(parts, dlogp.data(), dentropy.data(), b.logp.data() + first, b.old.data() + first,
                         b.ref.data() + first, b.entropy.data() + first, b.advantages.data() + first, b.weights.data() + first,
                         args, count);
    CHECK(parts.loss == whole.loss && parts.kl == whole.kl && parts.ratio == whole.ratio && parts.entropy == whole.entropy);
    CHECK(parts.clipped == whole.clipped && parts.max_abs_drift == whole.max_abs_drift && parts.tokens == whole.tokens);
  }
}

TEST(policy_loss_has_the_same_bits_everywhere) {
  const Batch b(1003);
  for (const PolicyLossArgs& args : kVariants)
    SAME_EVERYWHERE([&](const Kernels& k, ThreadPool&) {
      const Result r = run(k, b, args);
      Floats all = r.dlogp;
      append(all, r.dentropy);
      for (const double s : {r.sums.loss, r.sums.kl, r.sums.ratio, r.sums.clipped, r.sums.entropy, r.sums.max_abs_drift}) {
        float halves[2];
        std::memcpy(halves, &s, sizeof s);
        append(all, {halves[0], halves[1]});
      }
      return all;
    });
}

}  // namespace
}  // namespace zazen::test
