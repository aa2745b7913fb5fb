// Group advantages against the formula in double.
#include "support.h"

namespace zazen::test {
namespace {

Floats normalize(const Kernels& k, const Floats& rewards, const Ints& cu_groups, bool scale, float eps = 1e-4f) {
  Floats advantages(rewards.size(), kNan);
  k.advantage_normalize(advantages.data(), rewards.data(), cu_groups.data(), static_cast<int64_t>(cu_groups.size()) - 1, scale,
                        eps);
  return advantages;
}

TEST(advantage_matches_the_formula) {
  const Ints cu_groups = {0, 2, 7, 8, 24, 61};
  const Floats rewards = random_floats(61, 1, -5, 5);
  for (const bool scale : {false, true}) {
    Doubles want;
    for (size_t g = 0; g + 1 < cu_groups.size(); ++g) {
      const int32_t begin = cu_groups[g], n = cu_groups[g + 1] - begin;
      double mean = 0, squares = 0;
      for (int32_t i = 0; i < n; ++i) mean += static_cast<double>(rewards[begin + i]) / n;
      for (int32_t i = 0; i < n; ++i) squares += std::pow(static_cast<double>(rewards[begin + i]) - mean, 2);
      const double divisor = scale && n > 1 ? std::sqrt(squares / (n - 1)) + static_cast<double>(1e-4f) : 1.0;
      for (int32_t i = 0; i < n; ++i) want.push_back((static_cast<double>(rewards[begin + i]) - mean) / divisor);
    }
    CHECK_ALL_NEAR(normalize(best(), rewards, cu_groups, scale), want, 1e-6);
  }
}

TEST(advantage_of_a_group_without_spread_is_zero) {
  for (const bool scale : {false, true})
    for (const float eps : {0.0f, 1e-4f})
      CHECK_BITS(normalize(best(), {0.1f, 0.1f, 0.1f, 7.0f, -3e38f, -3e38f}, {0, 3, 4, 6}, scale, eps), Floats(6, 0.0f));
}

TEST(advantage_of_binary_rewards) {
  const Floats a = normalize(best(), {1, 0, 0, 0}, {0, 4}, true, 0.0f);
  CHECK_ALL_NEAR(a, (Doubles{1.5, -0.5, -0.5, -0.5}), 1e-7);
  CHECK_BITS(normalize(best(), {1, 0, 0, 0}, {0, 4}, false), (Floats{0.75f, -0.25f, -0.25f, -0.25f}));
}

TEST(advantage_takes_no_groups_and_empty_groups) {
  CHECK(normalize(best(), {}, {0}, true).empty());
  CHECK_BITS(normalize(best(), {1, 3}, {0, 0, 2, 2}, false), (Floats{-1, 1}));
}

TEST(advantage_has_the_same_bits_everywhere) {
  Ints cu_groups = {0};
  for (int32_t g = 0; g < 60; ++g) cu_groups.push_back(cu_groups.back() + 1 + g % 19);
  const Floats rewards = random_floats(cu_groups.back(), 2);
  SAME_EVERYWHERE([&](const Kernels& k, ThreadPool&) { return normalize(k, rewards, cu_groups, true); });
}

}  // namespace
}  // namespace zazen::test
