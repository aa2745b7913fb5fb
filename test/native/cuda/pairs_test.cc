// The losses of pairs and of critics on the emulated device against the CPU's. Sums are in double, but in another order.
#include "native/cuda/device.h"

namespace zazen::test {
namespace {

// Of doubles in another order, and of functions of another library.
constexpr double kClose = 1e-12, kCloseFloat = 1e-7;

Doubles list(const PairSums& s) {
  return {s.loss,
          s.chosen,
          s.rejected,
          s.chosen_logp,
          s.rejected_logp,
          static_cast<double>(s.accurate),
          static_cast<double>(s.pairs)};
}
Doubles list(const ValueSums& s) {
  return {s.loss,
          s.values,
          s.returns,
          s.squared_returns,
          s.errors,
          s.squared_errors,
          s.max_abs_drift,
          static_cast<double>(s.clipped),
          static_cast<double>(s.tokens)};
}

// Weights of 0 leave numbers out that are none.
void leave_out(Floats& weights, Floats& values, size_t first) {
  for (size_t i = first; i < weights.size(); i += 3) weights[i] = 0.0f, values[i] = kNan;
}

TEST(cuda_dpo_loss_matches_the_cpu) {
  for (const int64_t pairs : {1, 2, 9})
    for (const DpoLossArgs& args : {DpoLossArgs{0.1f}, DpoLossArgs{1.5f, 0.2f}}) {
      Ints cu = {0};
      for (const int32_t length : random_ints(2 * pairs, 5, 600)) cu.push_back(cu.back() + length);
      const int64_t T = cu.back();
      Floats logp = random_floats(T, 1, -3, 0), weights = random_floats(T, 3, 0.1f, 1);
      leave_out(weights, logp, 0);
      const Floats ref = random_floats(T, 2, -3, 0);
      Floats pair_weights = random_floats(pairs, 4, 0.1f, 1), want(static_cast<size_t>(T));
      for (int64_t p = 2; p < pairs; p += 3) pair_weights[p] = 0.0f;
      const Device<float> d_logp(logp), d_ref(ref), d_weights(weights), d_pairs(pair_weights), dlogp(want.size());
      const Device<int32_t> d_cu(cu);
      PairSums sums, got;
      best().dpo_loss(sums, want.data(), {logp.data(), ref.data(), weights.data(), cu.data(), pair_weights.data(), pairs},
                      args);
      const DpoLossInputs in{d_logp.data(), d_ref.data(), d_weights.data(), d_cu.data(), d_pairs.data(), pairs};
      cuda::dpo_loss(got, dlogp.data(), in, args);
      CHECK_ALL_NEAR(dlogp.values(), doubles(want), kCloseFloat);
      CHECK_ALL_NEAR(list(got), list(sums), kClose);
      cuda::dpo_loss(got, dlogp.data(), in, args);
      CHECK_NEAR(got.loss, 2 * sums.loss, kClose);
    }
}

// Far from the boundary the loss is the margin itself, or nothing, and the gradient stays finite.
TEST(cuda_dpo_loss_holds_at_large_margins) {
  for (const float sign : {-1.0f, 1.0f}) {
    const Device<float> logp(Floats{sign * 1e6f, 0}), ref(Floats{0, 0}), weights(Floats{1, 1}), pair(Floats{1}), dlogp(2);
    const Device<int32_t> cu(Ints{0, 1, 2});
    PairSums sums;
    cuda::dpo_loss(sums, dlogp.data(), {logp.data(), ref.data(), weights.data(), cu.data(), pair.data(), 1}, {1.0f});
    CHECK(sums.loss == (sign < 0 ? 1e6 : 0.0));
    CHECK_ALL_NEAR(dlogp.values(), (sign < 0 ? Doubles{-1, 1} : Doubles{0, 0}), 0);
  }
}

TEST(cuda_bradley_terry_loss_matches_the_cpu) {
  for (const int64_t pairs : {0, 1, 33, 2049})
    for (const bool with_margins : {true, false}) {
      const Floats scores = random_floats(2 * pairs, 1, -4, 4), margins = random_floats(pairs, 2, 0, 2);
      Floats weights = random_floats(pairs, 3, 0.1f, 1), unused(weights.size()), want(scores.size());
      leave_out(weights, unused, 2);
      const Device<float> d_scores(scores), d_margins(margins), d_weights(weights), dscores(want.size());
      PairSums sums, got;
      best().bradley_terry_loss(sums, want.data(),
                                {scores.data(), with_margins ? margins.data() : nullptr, weights.data(), pairs}, 0.01f);
      cuda::bradley_terry_loss(got, dscores.data(),
                               {d_scores.data(), with_margins ? d_margins.data() : nullptr, d_weights.data(), pairs}, 0.01f);
      CHECK_ALL_NEAR(dscores.values(), doubles(want), kCloseFloat);
      CHECK_ALL_NEAR(list(got), list(sums), kClose);
    }
}

TEST(cuda_value_loss_matches_the_cpu) {
  for (const int64_t T : {0, 1, 300, 4500})
    for (const float clip : {0.0f, 0.2f})
      for (const bool with_old : {true, false}) {
        if (clip > 0.0f && !with_old) continue;
        Floats values = random_floats(T, 1, -2, 2), weights = random_floats(T, 4, 0, 1), old = values, want(values.size());
        const Floats returns = random_floats(T, 2, -2, 2), drift = random_floats(T, 3, -0.5f, 0.5f);
        for (size_t t = 0; t < old.size(); ++t) old[t] += t % 7 == 0 ? 0.0f : drift[t];
        leave_out(weights, values, 1);
        const Device<float> d_values(values), d_returns(returns), d_weights(weights), d_old(old), dvalues(want.size());
        ValueSums sums, got;
        best().value_loss(sums, want.data(), {values.data(), returns.data(), weights.data(), with_old ? old.data() : nullptr},
                          clip, T);
        cuda::value_loss(got, dvalues.data(),
                         {d_values.data(), d_returns.data(), d_weights.data(), with_old ? d_old.data() : nullptr}, clip, T);
        CHECK_BITS(dvalues.values(), want);
        CHECK_ALL_NEAR(list(got), list(sums), kClose);
      }
}

}  // namespace
}  // namespace zazen::test
