// The three named kernels and the rest of the head on the emulated device against the CPU's.
#include "kernels/cuda/named.h"
#include "native/cuda/device.h"

namespace zazen::test {
namespace {

Floats advantages(const Floats& rewards, const Ints& cu_groups, bool scale, float eps) {
  const Device<float> r(rewards), out(rewards.size());
  const Device<int32_t> groups(cu_groups);
  cuda::advantage_normalize(out.data(), r.data(), groups.data(), static_cast<int64_t>(cu_groups.size()) - 1, scale, eps);
  return rewards.empty() ? Floats() : out.values();
}

TEST(cuda_advantage_matches_the_cpu) {
  Ints cu_groups = {0};
  for (int32_t g = 0; g < 70; ++g) cu_groups.push_back(cu_groups.back() + g % 19);
  const Floats rewards = random_floats(cu_groups.back(), 1, -5, 5);
  for (const bool scale : {false, true}) {
    Floats want(rewards.size());
    best().advantage_normalize(want.data(), rewards.data(), cu_groups.data(), 70, scale, 1e-4f);
    CHECK_ALL_NEAR(advantages(rewards, cu_groups, scale, 1e-4f), doubles(want), 2e-7);
  }
}

TEST(cuda_advantage_without_spread_is_zero) {
  const Floats rewards = {0.1f, 0.1f, 0.1f, 7.0f, -3e38f, -3e38f};
  for (const bool scale : {false, true})
    for (const float eps : {0.0f, 1e-4f}) CHECK_BITS(advantages(rewards, {0, 3, 4, 6}, scale, eps), Floats(6, 0.0f));
  CHECK(advantages({}, {0}, true, 0.0f).empty());
}

TEST(cuda_advantage_of_a_group_does_not_depend_on_others) {
  const Floats rewards = random_floats(60, 2);
  const Floats all = advantages(rewards, {0, 13, 60}, true, 0.0f);
  CHECK_BITS(advantages(slice(rewards, 13, 47), {0, 47}, true, 0.0f), slice(all, 13, 47));
}

struct Rows {
  int64_t R, V, ld;
};
const Rows kRows[] = {{1, 1, 1}, {3, 7, 8}, {2, 33, 64}, {3, 2049, 2053}, {2, 4103, 4128}, {1, 70000, 70016}};

struct Head {
  Floats logits;
  Ints targets;
  explicit Head(Rows s)
      : logits(random_floats(s.R * s.ld, 1, -9, 9)), targets(random_ints(s.R, 2, static_cast<int32_t>(s.V))) {}
};

TEST(cuda_head_matches_the_cpu) {
  for (const Rows s : kRows)
    for (const float temperature : {1.0f, 0.7f}) {
      Head host(s);
      const auto rows = static_cast<size_t>(s.R);
      Floats logp(rows), lse(rows), entropy(rows);
      const Device<float> logits(host.logits), d_logp(rows), d_lse(rows), d_entropy(rows);
      const Device<int32_t> targets(host.targets);
      best().head_forward(no_threads(), host.logits.data(), s.ld, host.targets.data(), temperature, logp.data(), lse.data(),
                          entropy.data(), s.R, s.V);
      cuda::head_forward(no_threads(), logits.data(), s.ld, targets.data(), temperature, d_logp.data(), d_lse.data(),
                         d_entropy.data(), s.R, s.V);
      CHECK_BITS(logits.values(), host.logits);
      CHECK_ALL_NEAR(d_logp.values(), doubles(logp), 1e-6);
      CHECK_ALL_NEAR(d_lse.values(), doubles(lse), 1e-6);
      CHECK_ALL_NEAR(d_entropy.values(), doubles(entropy), 2e-6);

      // From the same statistics the gradient has the same bits.
      const Floats dlogp = random_floats(s.R, 3), dentropy = random_floats(s.R, 4);
      const Device<float> same_lse(lse), same_entropy(entropy), d1(dlogp), d2(dentropy);
      for (const bool with_entropy : {true, false}) {
        Floats want = host.logits;
        const Device<float> got(host.logits);
        best().head_backward(no_threads(), want.data(), s.ld, host.targets.data(), lse.data(), entropy.data(), dlogp.data(),
                             with_entropy ? dentropy.data() : nullptr, temperature, s.R, s.V);
        cuda::head_backward(no_threads(), got.data(), s.ld, targets.data(), same_lse.data(), same_entropy.data(), d1.data(),
                            with_entropy ? d2.data() : nullptr, temperature, s.R, s.V);
        CHECK_BITS(got.values(), want);
      }
    }
}

template <class E>
void gather_has_the_bits_of_the_head() {
  for (const Rows s : kRows)
    for (const float temperature : {1.0f, 0.7f}) {
      const Head host(s);
      const std::vector<E> values = typed<E>(host.logits);
      const auto rows = static_cast<size_t>(s.R);
      const Device<float> scaled(plain(values)), logp(rows), lse(rows), entropy(rows), got(rows), got_lse(rows),
          got_entropy(rows);
      const Device<E> logits(values);
      const Device<int32_t> targets(host.targets);
      cuda::head_forward(no_threads(), scaled.data(), s.ld, targets.data(), temperature, logp.data(), lse.data(),
                         entropy.data(), s.R, s.V);
      cuda::logprob_gather({logits.data(), kTypeOf<E>}, s.ld, targets.data(), temperature, got.data(), got_lse.data(),
                           got_entropy.data(), s.R, s.V);
      CHECK_BITS(got.values(), logp.values());
      CHECK_BITS(got_lse.values(), lse.values());
      CHECK_BITS(got_entropy.values(), entropy.values());
      CHECK_BITS(plain(logits.values()), plain(values));
    }
}

TEST(cuda_logprob_gather_has_the_bits_of_the_head) {
  gather_has_the_bits_of_the_head<float>();
  gather_has_the_bits_of_the_head<bf16>();
}

TEST(cuda_head_rows_do_not_depend_on_neighbours_or_alignment) {
  const Rows s{4, 4103, 4104};
  const Head host(s);
  const auto forward = [](const Floats& logits, const Ints& targets, int64_t R, int64_t ld, int64_t offset) {
    const Shifted<float> rows(logits, offset);
    const Device<int32_t> ids(targets);
    const Device<float> logp(static_cast<size_t>(R)), lse(static_cast<size_t>(R));
    cuda::head_forward(no_threads(), rows.data(), ld, ids.data(), 0.9f, logp.data(), lse.data(), nullptr, R, 4103);
    return logp.values();
  };
  const Floats all = forward(host.logits, host.targets, 4, s.ld, 0);
  CHECK_BITS(forward(host.logits, host.targets, 4, s.ld, 1), all);
  for (int64_t r = 0; r < s.R; ++r)
    CHECK_BITS(forward(slice(host.logits, r * s.ld, s.V), {host.targets[r]}, 1, s.V, 0), slice(all, r, 1));
}

TEST(cuda_head_takes_logits_that_are_minus_infinity) {
  Floats logits = random_floats(600, 5);
  for (size_t v = 0; v < 300; ++v) logits[v] = -INFINITY;
  Floats want = logits, lse(1), logp(1);
  const Ints target = {400};
  best().head_forward(no_threads(), want.data(), 600, target.data(), 1.0f, logp.data(), lse.data(), nullptr, 1, 600);
  const Device<float> rows(logits), d_lse(1), d_logp(1);
  const Device<int32_t> ids(target);
  cuda::head_forward(no_threads(), rows.data(), 600, ids.data(), 1.0f, d_logp.data(), d_lse.data(), nullptr, 1, 600);
  CHECK_ALL_NEAR(d_lse.values(), doubles(lse), 1e-6);
  CHECK_ALL_NEAR(d_logp.values(), doubles(logp), 1e-6);
}

TEST(cuda_head_finds_the_top) {
  const int64_t R = 3, V = 1000, k = 7;
  Floats logits = random_floats(R * V, 6);
  for (float& z : logits) z = std::round(z * 20);  // ties
  const Floats lse = random_floats(R, 7);
  Ints want(R * k);
  Floats values(R * k);
  best().head_top(no_threads(), want.data(), values.data(), logits.data(), V, lse.data(), k, R, V);
  const Device<float> rows(logits), d_lse(lse), logprobs(values.size());
  const Device<int32_t> ids(want.size());
  cuda::head_top(no_threads(), ids.data(), logprobs.data(), rows.data(), V, d_lse.data(), k, R, V);
  CHECK_BITS(ids.values(), want);
  CHECK_BITS(logprobs.values(), values);
}

// Log-probs near each other, so that some ratios are inside of the bounds and some outside.
struct Tokens {
  int64_t T;
  Floats logp, old, advantages, weights, ref, entropy, sampler, importance;
  explicit Tokens(int64_t n)
      : T(n),
        logp(random_floats(n, 1, -2, 0)),
        old(logp),
        advantages(random_floats(n, 2)),
        weights(random_floats(n, 3, 0, 1)),
        ref(random_floats(n, 4, -3, 0)),
        entropy(random_floats(n, 5, 0, 2)),
        sampler(logp),
        importance(random_floats(n, 6, 0, 2)) {
    const Floats drift = random_floats(n, 7, -0.5f, 0.5f), other = random_floats(n, 8, -0.5f, 0.5f);
    for (int64_t t = 0; t < n; ++t) {
      old[t] += drift[t];
      sampler[t] += other[t];
      if (t % 5 == 3) weights[t] = 0, logp[t] = kNan;
      if (t % 7 == 0) old[t] = logp[t];  // a ratio of exactly 1
    }
  }
};

Doubles list(const PolicyLossSums& s) {
  return {s.loss,
          s.kl,
          s.ratio,
          s.clipped,
          s.entropy,
          s.clipped_low,
          s.clipped_high,
          s.max_abs_drift,
          static_cast<double>(s.tokens)};
}

void loss_matches(int64_t T, const PolicyLossArgs& args, bool extras, Ints cu_tokens = {}) {
  const Tokens host(T);
  if (cu_tokens.empty()) cu_tokens = {0, static_cast<int32_t>(T / 3), static_cast<int32_t>(T / 3), static_cast<int32_t>(T)};
  PolicyLossInputs in{host.logp.data(), host.old.data(), host.advantages.data(), host.weights.data()};
  const Device<float> logp(host.logp), old(host.old), advantages(host.advantages), weights(host.weights), ref(host.ref),
      entropy(host.entropy), sampler(host.sampler), importance(host.importance), d_dlogp(host.logp.size()),
      d_dentropy(host.logp.size());
  const Device<int32_t> d_cu(cu_tokens);
  PolicyLossInputs device{logp.data(), old.data(), advantages.data(), weights.data()};
  if (extras) {
    in.ref = host.ref.data(), in.entropy = host.entropy.data();
    in.sampler = host.sampler.data(), in.importance = host.importance.data();
    device.ref = ref.data(), device.entropy = entropy.data();
    device.sampler = sampler.data(), device.importance = importance.data();
  }
  if (args.ratio == RatioLevel::sequence) {
    in.cu_tokens = cu_tokens.data(), device.cu_tokens = d_cu.data();
    in.sequences = device.sequences = static_cast<int64_t>(cu_tokens.size()) - 1;
  }
  PolicyLossSums want, got;
  Floats dlogp(host.logp.size()), dentropy(host.logp.size());
  best().policy_loss(want, dlogp.data(), dentropy.data(), in, args, T);
  cuda::policy_loss(got, d_dlogp.data(), d_dentropy.data(), device, args, T);
  if (args.ratio == RatioLevel::token)
    CHECK_BITS(d_dlogp.values(), dlogp);
  else
    CHECK_ALL_NEAR(d_dlogp.values(), doubles(dlogp), 1e-6);
  CHECK_BITS(d_dentropy.values(), dentropy);
  CHECK_ALL_NEAR(list(got), list(want), 1e-7);
  cuda::policy_loss(got, d_dlogp.data(), nullptr, device, args, T);
  CHECK_NEAR(got.loss, 2 * want.loss, 1e-7);
}

TEST(cuda_policy_loss_matches_the_cpu) {
  for (const int64_t T : {1, 9, 300, 2049, 4500})
    for (const RatioLevel ratio : {RatioLevel::token, RatioLevel::sequence})
      for (const Objective objective : {Objective::clip, Objective::cispo})
        loss_matches(T, {0.2f, 0.28f, objective == Objective::clip ? 3.0f : 0.0f, 0.1f, 0.01f, ratio, objective}, true);
}

TEST(cuda_policy_loss_joins_many_pieces) {
  Ints cu_tokens(259);  // a sequence is a piece; more than 256 are joined
  for (size_t i = 0; i < cu_tokens.size(); ++i) cu_tokens[i] = static_cast<int32_t>(i);
  loss_matches(258, {0.2f, 0.28f, 3.0f, 0.1f, 0.01f, RatioLevel::sequence}, true, cu_tokens);
}

TEST(cuda_policy_loss_takes_every_divergence_and_absent_arrays) {
  for (const KlEstimator kl : {KlEstimator::k1, KlEstimator::k2, KlEstimator::k3})
    loss_matches(100, {0.2f, 0.2f, 0.0f, 0.1f, 0.0f, RatioLevel::token, Objective::clip, kl}, true);
  loss_matches(100, {0.2f, 0.2f, 1.5f, 0.0f, 0.0f}, false);
}

TEST(cuda_policy_loss_cuts_the_divergence_as_the_cpu) {
  for (const KlEstimator kl : {KlEstimator::k1, KlEstimator::k2, KlEstimator::k3})
    for (const auto& [log_ratio, most] : {std::pair{0.7f, 0.0f}, {0.0f, 0.2f}, {1.2f, 0.4f}})
      loss_matches(100, {0.2f, 0.2f, 0.0f, 0.1f, 0.0f, RatioLevel::token, Objective::clip, kl, log_ratio, most}, true);
}

}  // namespace
}  // namespace zazen::test
