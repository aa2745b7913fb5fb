// Log-probs, entropies and their gradients against a softmax in double.
#include <algorithm>

#include "support.h"

namespace zazen::test {
namespace {

const int64_t kVocabularies[] = {1, 2, 15, 32, 121, 1000, 8193};

struct Case {
  int64_t R, V, ld;
  float temperature;
  Floats logits;  // raw, [R, ld], NaN past the vocabulary
  Ints targets;
  Case(int64_t rows, int64_t vocabulary, float t, float range = 8.0f)
      : R(rows),
        V(vocabulary),
        ld(ceil_div(V, kPanel) * kPanel),
        temperature(t),
        logits(random_floats(R * ld, 1, -range, range)) {
    for (int64_t r = 0; r < R; ++r) std::fill(logits.begin() + r * ld + V, logits.begin() + (r + 1) * ld, kNan);
    targets = random_ints(R, 2, static_cast<int32_t>(V));
  }
  Doubles row(int64_t r) const { return doubles(slice(logits, r * ld, V)); }
};

struct Outputs {
  Floats scaled, logp, lse, entropy;
};
Outputs forward(const Kernels& k, ThreadPool& pool, const Case& c) {
  Outputs o{c.logits, Floats(c.R), Floats(c.R), Floats(c.R)};
  k.head_forward(pool, o.scaled.data(), c.ld, c.targets.data(), c.temperature, o.logp.data(), o.lse.data(), o.entropy.data(),
                 c.R, c.V);
  return o;
}

double lse_of(const Doubles& z) {
  const double top = *std::max_element(z.begin(), z.end());
  double total = 0;
  for (const double v : z) total += std::exp(v - top);
  return top + std::log(total);
}
double entropy_of(const Doubles& z) {
  const double lse = lse_of(z);
  double h = 0;
  for (const double v : z) h -= std::exp(v - lse) * (v - lse);
  return h;
}
Doubles divided(Doubles z, double by) {
  for (double& v : z) v /= by;
  return z;
}

TEST(head_forward_matches_the_reference) {
  ThreadPool pool(2);
  for (const int64_t V : kVocabularies)
    for (const float temperature : {1.0f, 0.7f, 2.5f}) {
      const Case c(5, V, temperature);
      const Outputs o = forward(best(), pool, c);
      for (int64_t r = 0; r < c.R; ++r) {
        const Doubles z = divided(c.row(r), temperature);
        CHECK_NEAR(o.lse[r], lse_of(z), 1e-6);
        CHECK_NEAR(o.logp[r], z[c.targets[r]] - lse_of(z), 1e-6);
        CHECK_NEAR(o.entropy[r], entropy_of(z), 3e-6);
        CHECK_ALL_NEAR(slice(o.scaled, r * c.ld, V), z, 1e-6);
      }
    }
}

TEST(head_forward_leaves_logits_alone_at_temperature_one) {
  ThreadPool pool(1);
  const Case c(3, 121, 1.0f);
  CHECK_BITS(forward(best(), pool, c).scaled, c.logits);
}

TEST(head_forward_takes_absent_outputs) {
  ThreadPool pool(1);
  const Case c(3, 121, 0.7f);
  const Outputs all = forward(best(), pool, c);
  Floats z = c.logits, lse(3), logp(3);
  best().head_forward(pool, z.data(), c.ld, nullptr, c.temperature, nullptr, lse.data(), nullptr, c.R, c.V);
  CHECK_BITS(lse, all.lse);
  z = c.logits;
  best().head_forward(pool, z.data(), c.ld, c.targets.data(), c.temperature, logp.data(), lse.data(), nullptr, c.R, c.V);
  CHECK_BITS(logp, all.logp);
}

TEST(head_forward_keeps_large_logits) {
  ThreadPool pool(1);
  Case c(1, 3, 1.0f);
  c.logits = {3e4f, 3e4f, -3e4f};
  c.ld = 3;
  c.targets = {1};
  const Outputs o = forward(best(), pool, c);
  CHECK_NEAR(o.logp[0], -std::log(2.0), 2e-3);
  CHECK_NEAR(o.entropy[0], std::log(2.0), 1e-6);
}

// loss = sum_r a_r logp_r + b_r entropy_r as a function of the raw logits of one row.
TEST(head_backward_matches_differences) {
  ThreadPool pool(2);
  for (const int64_t V : {1, 2, 15, 121})
    for (const float temperature : {1.0f, 0.7f}) {
      const Case c(4, V, temperature, 3.0f);
      const Floats a = random_floats(c.R, 3), b = random_floats(c.R, 4);
      Outputs o = forward(best(), pool, c);
      best().head_backward(pool, o.scaled.data(), c.ld, c.targets.data(), o.lse.data(), o.entropy.data(), a.data(), b.data(),
                           temperature, c.R, V);
      for (int64_t r = 0; r < c.R; ++r) {
        const Doubles want = numeric_gradient(c.row(r), [&](const Doubles& raw) {
          const Doubles z = divided(raw, temperature);
          return a[r] * (z[c.targets[r]] - lse_of(z)) + b[r] * entropy_of(z);
        });
        CHECK_ALL_NEAR(slice(o.scaled, r * c.ld, V), want, 2e-6);
        CHECK_BITS(slice(o.scaled, r * c.ld + V, c.ld - V), Floats(c.ld - V, 0.0f));
      }
    }
}

TEST(head_backward_without_entropy_is_softmax_minus_one_hot) {
  ThreadPool pool(1);
  const Case c(2, 33, 1.0f);
  const Floats a = {1.5f, -2.0f};
  Outputs o = forward(best(), pool, c);
  best().head_backward(pool, o.scaled.data(), c.ld, c.targets.data(), o.lse.data(), nullptr, a.data(), nullptr, 1.0f, c.R, c.V);
  for (int64_t r = 0; r < c.R; ++r) {
    const Doubles z = c.row(r);
    for (int64_t v = 0; v < c.V; ++v)
      CHECK_NEAR(o.scaled[r * c.ld + v], a[r] * ((v == c.targets[r] ? 1.0 : 0.0) - std::exp(z[v] - lse_of(z))), 1e-6);
  }
}

TEST(head_backward_respects_a_tight_row_stride) {
  ThreadPool pool(1);
  Case c(3, 33, 1.0f);
  Floats tight;
  for (int64_t r = 0; r < 3; ++r) append(tight, slice(c.logits, r * c.ld, 33));
  const Floats a = {1, 2, 3};
  Outputs wide = forward(best(), pool, c);
  best().head_backward(pool, wide.scaled.data(), c.ld, c.targets.data(), wide.lse.data(), nullptr, a.data(), nullptr, 1.0f, 3,
                       33);
  best().head_backward(pool, tight.data(), 33, c.targets.data(), wide.lse.data(), nullptr, a.data(), nullptr, 1.0f, 3, 33);
  for (int64_t r = 0; r < 3; ++r) CHECK_BITS(slice(tight, r * 33, 33), slice(wide.scaled, r * c.ld, 33));
}

TEST(head_has_the_same_bits_everywhere) {
  for (const int64_t V : {121, 1000, 8193}) {
    const Case c(17, V, 0.7f);
    const Floats a = random_floats(c.R, 5), b = random_floats(c.R, 6);
    const Floats all = SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) {
      Outputs o = forward(k, pool, c);
      k.head_backward(pool, o.scaled.data(), c.ld, c.targets.data(), o.lse.data(), o.entropy.data(), a.data(), b.data(), 0.7f,
                      c.R, V);
      Floats result = o.logp;
      append(result, o.lse);
      append(result, o.entropy);
      append(result, o.scaled);
      return result;
    });
    ThreadPool pool(1);
    for (int64_t r = 0; r < c.R; ++r) {
      Case row(1, V, 0.7f);
      row.logits = slice(c.logits, r * c.ld, c.ld);
      row.targets = {c.targets[r]};
      CHECK_BITS(forward(best(), pool, row).logp, slice(all, r, 1));
    }
  }
}

TEST(head_top_is_sorted_with_ties_to_the_lower_id) {
  ThreadPool pool(2);
  Case c(6, 300, 1.0f);
  for (float& z : c.logits) z = std::round(z);  // many ties
  const Outputs o = forward(best(), pool, c);
  for (const int64_t k : {1, 5, 300}) {
    Ints ids(c.R * k), order(c.V);
    Floats logprobs(c.R * k);
    best().head_top(pool, ids.data(), logprobs.data(), o.scaled.data(), c.ld, o.lse.data(), k, c.R, c.V);
    for (int64_t r = 0; r < c.R; ++r) {
      const float* z = o.scaled.data() + r * c.ld;
      for (int64_t v = 0; v < c.V; ++v) order[v] = static_cast<int32_t>(v);
      std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return z[a] > z[b]; });
      for (int64_t i = 0; i < k; ++i) {
        CHECK(ids[r * k + i] == order[i]);
        CHECK(logprobs[r * k + i] == z[order[i]] - o.lse[r]);
      }
    }
  }
}

}  // namespace
}  // namespace zazen::test
