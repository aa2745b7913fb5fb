// The DPO loss against its formula in double, and its gradient against central differences of that formula.
#include <algorithm>

#include "support.h"

namespace zazen::test {
namespace {

struct Pairs {
  int64_t T = 0;
  Floats logp, ref, weights, pair_weights;
  Ints cu{0};
  // Sequences of 0 to 40 tokens, as many as two for each pair.
  explicit Pairs(int64_t pairs) : pair_weights(random_floats(pairs, 4, 0.1f, 1)) {
    for (const int32_t length : random_ints(2 * pairs, 5, 41)) cu.push_back(cu.back() + length);
    T = cu.back();
    logp = random_floats(T, 1, -3, 0);
    ref = random_floats(T, 2, -3, 0);
    weights = random_floats(T, 3, 0.1f, 1);
    for (int64_t t = 0; t < T; t += 3) weights[t] = 0;
    for (int64_t p = 2; p < pairs; p += 3) pair_weights[p] = 0;
  }
  int64_t count() const { return static_cast<int64_t>(pair_weights.size()); }
  DpoLossInputs inputs(const Floats& at) const {
    return {at.data(), ref.data(), weights.data(), cu.data(), pair_weights.data(), count()};
  }
};

double log_ratio(const Pairs& b, const Doubles& logp, int64_t sequence) {
  double total = 0;
  for (int32_t t = b.cu[sequence]; t < b.cu[sequence + 1]; ++t)
    if (b.weights[t] != 0) total += logp[t] - static_cast<double>(b.ref[t]);
  return total;
}

double log_sigmoid(double x) { return -std::log(1 + std::exp(-x)); }

double loss_of(const Pairs& b, const Doubles& logp, const DpoLossArgs& args) {
  double total = 0;
  const double flipped = static_cast<double>(args.label_smoothing);
  for (int64_t p = 0; p < b.count(); ++p) {
    const double margin = static_cast<double>(args.beta) * (log_ratio(b, logp, 2 * p) - log_ratio(b, logp, 2 * p + 1));
    total -= static_cast<double>(b.pair_weights[p]) * ((1 - flipped) * log_sigmoid(margin) + flipped * log_sigmoid(-margin));
  }
  return total;
}

struct Result {
  PairSums sums;
  Floats dlogp;
};

Result run(const Kernels& k, const Pairs& b, const DpoLossArgs& args) {
  Result r{{}, Floats(static_cast<size_t>(b.T), kNan)};
  k.dpo_loss(r.sums, r.dlogp.data(), b.inputs(b.logp), args);
  return r;
}

const DpoLossArgs kVariants[] = {{0.1f}, {0.1f, 0.2f}, {1.5f}, {0.5f, 0.5f}};

TEST(dpo_loss_and_gradient_match_the_formula) {
  for (const int64_t pairs : {1, 2, 9})
    for (const DpoLossArgs& args : kVariants) {
      const Pairs b(pairs);
      const Result r = run(best(), b, args);
      const Doubles logp = doubles(b.logp);
      CHECK_NEAR(r.sums.loss, loss_of(b, logp, args), 1e-12);
      CHECK_ALL_NEAR(r.dlogp, numeric_gradient(logp, [&](const Doubles& x) { return loss_of(b, x, args); }), 1e-7);
    }
}

TEST(dpo_loss_sums_over_pairs_with_weight) {
  const Pairs b(9);
  const PairSums sums = run(best(), b, {0.3f}).sums;
  PairSums want{};
  const Doubles logp = doubles(b.logp);
  for (int64_t p = 0; p < b.count(); ++p) {
    if (b.pair_weights[p] == 0) continue;
    const double chosen = static_cast<double>(0.3f) * log_ratio(b, logp, 2 * p);
    const double rejected = static_cast<double>(0.3f) * log_ratio(b, logp, 2 * p + 1);
    want.chosen += chosen;
    want.rejected += rejected;
    want.accurate += chosen > rejected;
    for (int32_t t = b.cu[2 * p]; t < b.cu[2 * p + 2]; ++t)
      if (b.weights[t] != 0) (t < b.cu[2 * p + 1] ? want.chosen_logp : want.rejected_logp) += logp[t];
    ++want.pairs;
  }
  CHECK(want.pairs == 6 && sums.pairs == 6 && sums.accurate == want.accurate);
  CHECK_NEAR(sums.chosen, want.chosen, 1e-12);
  CHECK_NEAR(sums.rejected, want.rejected, 1e-12);
  CHECK_NEAR(sums.chosen_logp, want.chosen_logp, 1e-12);
  CHECK_NEAR(sums.rejected_logp, want.rejected_logp, 1e-12);
}

TEST(dpo_loss_leaves_out_what_has_no_weight) {
  Pairs b(9);
  for (int64_t t = 0; t < b.T; ++t)
    if (b.weights[t] == 0) b.logp[t] = b.ref[t] = kNan;
  for (int64_t p = 0; p < b.count(); ++p)
    if (b.pair_weights[p] == 0) std::fill(b.logp.begin() + b.cu[2 * p], b.logp.begin() + b.cu[2 * p + 2], kNan);
  const Result r = run(best(), b, {0.1f, 0.1f}), clean = run(best(), Pairs(9), {0.1f, 0.1f});
  CHECK(r.sums.loss == clean.sums.loss);
  CHECK_BITS(r.dlogp, clean.dlogp);
}

// Far from the boundary the loss is the margin itself, or nothing, and the gradient stays finite.
TEST(dpo_loss_holds_at_large_margins) {
  for (const float sign : {-1.0f, 1.0f}) {
    Pairs b(1);
    b.T = 2;
    b.cu = {0, 1, 2};
    b.weights = {1, 1};
    b.pair_weights = {1};
    b.ref = {0, 0};
    b.logp = {sign * 1e6f, 0};
    const Result r = run(best(), b, {1.0f});
    CHECK(r.sums.loss == (sign < 0 ? 1e6 : 0.0));
    CHECK_ALL_NEAR(r.dlogp, (sign < 0 ? Doubles{-1, 1} : Doubles{0, 0}), 0);
  }
}

TEST(dpo_loss_of_an_untrained_policy_is_log_two) {
  Pairs b(4);
  b.logp = b.ref;
  b.pair_weights = Floats(4, 0.25f);
  const Result r = run(best(), b, {0.1f});
  CHECK_NEAR(r.sums.loss, std::log(2.0), 1e-15);
  CHECK(r.sums.accurate == 0 && r.sums.chosen == 0.0);
}

TEST(dpo_loss_over_two_calls_has_the_bits_of_one) {
  const Pairs b(9);
  const Result whole = run(best(), b, {0.1f, 0.1f});
  PairSums sums;
  Floats dlogp(static_cast<size_t>(b.T));
  for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 4}, {4, 5}}) {
    const int32_t from = b.cu[2 * first];
    Ints cu;
    for (int64_t s = 2 * first; s <= 2 * (first + count); ++s) cu.push_back(b.cu[s] - from);
    const DpoLossInputs in{
        b.logp.data() + from, b.ref.data() + from, b.weights.data() + from, cu.data(), b.pair_weights.data() + first, count};
    best().dpo_loss(sums, dlogp.data() + from, in, {0.1f, 0.1f});
  }
  CHECK(std::memcmp(&sums, &whole.sums, sizeof sums) == 0);
  CHECK_BITS(dlogp, whole.dlogp);
}

TEST(dpo_loss_has_the_same_bits_everywhere) {
  const Pairs b(30);
  SAME_EVERYWHERE([&](const Kernels& k, ThreadPool&) {
    const Result r = run(k, b, {0.2f, 0.1f});
    Floats all = r.dlogp;
    for (const double s : {r.sums.loss, r.sums.chosen, r.sums.rejected, r.sums.chosen_logp, r.sums.rejected_logp}) {
      float halves[2];
      std::memcpy(halves, &s, sizeof s);
      append(all, {halves[0], halves[1]});
    }
    return all;
  });
}

}  // namespace
}  // namespace zazen::test
